// The rows of one segment: slabs of the table's row space, and a free list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "row_space.h"

namespace freshet {

// A freed row's first bytes link to the next free one, so freeing takes no memory. Not thread-safe: the
// segment has the lock.
class RowStore {
 public:
  explicit RowStore(RowSpace& space) : space_(space) {}
  // The same row numbers in another space, which has the slabs already (RowSpace::take_as).
  RowStore(const RowStore& other, RowSpace& space);
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  // Floats are undefined, metadata is zero. Throws std::bad_alloc.
  uint32_t allocate();
  void free(uint32_t row);

  float* values(uint32_t row) const { return space_.values(row); }
  RowMeta& meta(uint32_t row) const { return space_.meta(row); }
  size_t small_page_bytes() const;

 private:
  static constexpr uint32_t kNoFreeRow = 0xffffffff;

  size_t used_rows(size_t slab) const {
    return slab + 1 == slabs_.size() ? rows_in_last_slab_ : space_.rows_per_slab();
  }

  RowSpace& space_;
  uint32_t first_free_ = kNoFreeRow;
  size_t rows_in_last_slab_ = 0;
  std::vector<uint32_t> slabs_;  // the first row of each
};

}  // namespace freshet
