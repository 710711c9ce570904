#include "row_store.h"

#include <algorithm>
#include <cstring>

namespace freshet {

RowStore::RowStore(const RowStore& other, RowSpace& space)
    : space_(space),
      first_slab_rows_(other.first_slab_rows_),
      first_free_(other.first_free_),
      rows_in_last_slab_(other.rows_in_last_slab_),
      slabs_(other.slabs_) {
  for (size_t s = 0; s < slabs_.size(); ++s) {
    const auto end = static_cast<uint32_t>(slabs_[s] + used_rows(s));
    std::copy(other.at(slabs_[s]), other.at(end), at(slabs_[s]));
    std::copy_n(&other.meta(slabs_[s]), used_rows(s), &meta(slabs_[s]));
  }
}

void RowStore::add_slab() {
  if (slabs_.size() == slabs_.capacity()) slabs_.reserve(2 * slabs_.size() + 1);
  slabs_.push_back(space_.take_slab());
  rows_in_last_slab_ = 0;
}

void RowStore::free(uint32_t row) {
  std::memcpy(at(row), &first_free_, sizeof(first_free_));
  first_free_ = row;
}

size_t RowStore::small_page_bytes() const {
  size_t total = slabs_.capacity() * sizeof(uint32_t);
  for (size_t s = 0; s < slabs_.size(); ++s) total += space_.small_page_bytes(slabs_[s], used_rows(s));
  return total;
}

}  // namespace freshet
