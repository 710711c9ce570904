// Memory that fails on demand: operator new, and the mmap and mprotect of the table's own pages.
#pragma once

#include <cstddef>

namespace freshet {

// While it lives, requests for memory are counted, and those from `first` (0: the next one) on fail: one, or
// all that follow. One at a time.
class FailingMemory {
 public:
  enum class Mode { kOnce, kFromThenOn };

  // `failed` tells in the end whether any has.
  FailingMemory(size_t first, Mode mode, bool* failed);
  ~FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;

 private:
  bool* failed_;
};

}  // namespace freshet
