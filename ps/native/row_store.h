// The rows of one segment: slabs of the table's row space, and a free list.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "row_space.h"

namespace freshet {

// A freed row's first bytes link to the next free one, so freeing takes no memory. Not thread-safe: the
// segment has the lock.
class RowStore {
 public:
  // `first_slab`, of 1: how much of its first slab it uses, different for each segment, so that they do not
  // all need the next one, and its fresh pages, in one batch.
  RowStore(RowSpace& space, double first_slab)
      : space_(space),
        first_slab_rows_(std::max<size_t>(
            1, static_cast<size_t>(first_slab * static_cast<double>(space.rows_per_slab())))) {}
  // The same row numbers in another space, which has the slabs already (RowSpace::take_as).
  RowStore(const RowStore& other, RowSpace& space);
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  // Values are undefined, metadata is zero. Throws std::bad_alloc.
  uint32_t allocate() {
    uint32_t row = first_free_;
    if (row != kNoFreeRow) {
      std::memcpy(&first_free_, at(row), sizeof(first_free_));
    } else {
      if (slabs_.empty() || rows_in_last_slab_ == room(slabs_.size() - 1)) add_slab();
      row = slabs_.back() + static_cast<uint32_t>(rows_in_last_slab_++);
    }
    meta(row) = {};
    return row;
  }
  void free(uint32_t row);

  size_t row_bytes() const { return space_.row_bytes(); }
  std::byte* at(uint32_t row) const { return space_.at(row); }
  // Of a table of float32.
  float* values(uint32_t row) const { return reinterpret_cast<float*>(at(row)); }
  RowMeta& meta(uint32_t row) const { return space_.meta(row); }
  size_t small_page_bytes() const;

 private:
  static constexpr uint32_t kNoFreeRow = 0xffffffff;

  [[gnu::noinline]] void add_slab();
  size_t room(size_t slab) const { return slab == 0 ? first_slab_rows_ : space_.rows_per_slab(); }
  size_t used_rows(size_t slab) const { return slab + 1 == slabs_.size() ? rows_in_last_slab_ : room(slab); }

  RowSpace& space_;
  size_t first_slab_rows_;
  uint32_t first_free_ = kNoFreeRow;
  size_t rows_in_last_slab_ = 0;
  std::vector<uint32_t> slabs_;  // the first row of each
};

}  // namespace freshet
