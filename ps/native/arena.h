// Memory for what comes in many pieces of a few KiB: blocks of 2 MiB, on huge pages where the system gives
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "pages.h"

namespace freshet {

// Hands out runs of 4 KiB granules. A block is a bit for each of its 512 granules, so neighbours that are
// free merge by themselves. A block without users goes back to the system, unless it is kept. Thread-safe.
class Arena {
 public:
  static constexpr size_t kGranuleBytes = kPageBytes;
  static constexpr size_t kBlockBytes = kHugePageBytes;

  // The first `small_page_blocks` stay on small pages, so that a small table does not cost 2 MiB a block.
  explicit Arena(size_t small_page_blocks) : small_page_blocks_(small_page_blocks) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed on first use only; `bytes` at most kBlockBytes. Throws std::bad_alloc.
  void* allocate(size_t bytes);
  void free(void* memory, size_t bytes);
  // From here on so many blocks stay as have users now: for what will be freed whole, and soon taken again.
  // On small pages they stay without their memory.
  void keep_used();

  // Bytes that huge pages take whole; memory on small pages is counted by its users, page by page.
  size_t huge_bytes() const;
  // The same, and the granules on small pages that are taken.
  size_t taken_bytes() const;
  // Whether `memory` is in a block that asked for huge pages.
  bool is_huge(const void* memory) const;

 private:
  static constexpr size_t kGranules = kBlockBytes / kGranuleBytes;

  // Which granules of a block are taken.
  class Granules {
   public:
    // The first of `count` free ones in a row, or kGranules.
    size_t gap(size_t count) const;
    void set(size_t first, size_t count, bool taken);
    size_t count() const;
    bool none() const { return words_ == std::array<uint64_t, kGranules / 64>{}; }

   private:
    // The first at `from` or later that is taken, or free; or kGranules.
    size_t next(size_t from, bool taken) const;

    std::array<uint64_t, kGranules / 64> words_{};
  };
  struct Block {
    std::byte* memory;
    bool huge;
    Granules taken{};
    size_t widest = kGranules;  // no gap is wider: most blocks are full, and not looked through again
  };

  Block& block_with_room(size_t granules, size_t* first);
  Block& add_block();
  // A block without users that is not kept, no longer ours; or null.
  std::byte* take_surplus();

  const size_t small_page_blocks_;
  mutable std::mutex mutex_;
  std::vector<Block> blocks_;
  size_t kept_blocks_ = 0;
};

}  // namespace freshet
