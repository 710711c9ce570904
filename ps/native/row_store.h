// Rows of floats in slabs, with what is known about each row, and a free list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arena.h"

namespace freshet {

// A row number is (slab, place in slab), so a row never moves. A freed row's first bytes link to the next
// free one. In a slab the rows come first, then their update times, then their counts: an embedding of 16
// floats is one line, and a lookup reads nothing else. Not thread-safe: the segment has the lock.
class RowStore {
 public:
  RowStore(size_t row_floats, Arena& arena);
  ~RowStore();
  RowStore(const RowStore& other, Arena& arena);
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  // Contents are undefined, metadata is zero. Throws std::bad_alloc.
  uint32_t allocate();
  void free(uint32_t row);

  float* values(uint32_t row) const {
    return reinterpret_cast<float*>(slab(row) + place(row) * row_floats_ * sizeof(float));
  }
  int64_t& last_update_ms(uint32_t row) const {
    return reinterpret_cast<int64_t*>(slab(row) + times_offset_)[place(row)];
  }
  // Saturates at kMaxCount; the highest bit is the owner's mark.
  uint32_t& count_and_mark(uint32_t row) const {
    return reinterpret_cast<uint32_t*>(slab(row) + counts_offset_)[place(row)];
  }

  size_t row_floats() const { return row_floats_; }
  // Bytes of touched small pages; slabs in huge blocks are counted by the arena.
  size_t small_page_bytes() const;

 private:
  static constexpr size_t kSlabBytes = size_t{256} << 10;
  static constexpr uint32_t kNoFreeRow = 0xffffffff;

  std::byte* slab(uint32_t row) const { return slabs_[row >> place_bits_]; }
  size_t place(uint32_t row) const { return row & ((uint32_t{1} << place_bits_) - 1); }
  size_t touched_bytes(size_t rows) const;

  size_t row_floats_;
  size_t rows_per_slab_;
  size_t times_offset_;
  size_t counts_offset_;
  unsigned place_bits_;
  size_t rows_in_last_slab_;
  uint32_t first_free_ = kNoFreeRow;
  std::vector<std::byte*> slabs_;
  Arena& arena_;
};

}  // namespace freshet
