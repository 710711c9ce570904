// Memory for bucket arrays: blocks of 2 MiB, on huge pages where the system gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "pages.h"

namespace freshet {

// Hands out runs of 32 KiB granules. A block is one 64-bit map of its 64 granules, so neighbours that are
// free merge by themselves. A block without users goes back to the system. Thread-safe.
//
// The first blocks stay on small pages: a small table must not cost 2 MiB per touched block.
class Arena {
 public:
  static constexpr size_t kGranuleBytes = size_t{32} << 10;
  static constexpr size_t kBlockBytes = kHugePageBytes;
  static constexpr size_t kSmallPageBlocks = 8;

  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed on first use only; `bytes` at most kBlockBytes. Throws std::bad_alloc.
  void* allocate(size_t bytes);
  void free(void* memory, size_t bytes);

  // Bytes that huge pages take whole; memory on small pages is counted by its users, page by page.
  size_t huge_bytes() const;
  // Whether `memory` is in a block that asked for huge pages.
  bool is_huge(const void* memory) const;

 private:
  struct Block {
    std::byte* memory;
    uint64_t used;  // bit g: granule g is taken
    bool huge;
  };

  Block& block_with_room(size_t granules, unsigned* first);
  Block& add_block();

  mutable std::mutex mutex_;
  std::vector<Block> blocks_;
};

}  // namespace freshet
