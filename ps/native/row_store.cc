#include "row_store.h"

#include <bit>
#include <cstring>
#include <new>

namespace freshet {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kRowMetaBytes = sizeof(int64_t) + sizeof(uint32_t);

size_t pages(size_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

}  // namespace

RowStore::RowStore(size_t row_floats, Arena& arena)
    : row_floats_(row_floats),
      rows_per_slab_((kSlabBytes - sizeof(int64_t)) / (row_floats * sizeof(float) + kRowMetaBytes)),
      times_offset_((rows_per_slab_ * row_floats * sizeof(float) + 7) / 8 * 8),
      counts_offset_(times_offset_ + rows_per_slab_ * sizeof(int64_t)),
      place_bits_(static_cast<unsigned>(std::bit_width(rows_per_slab_ - 1))),
      rows_in_last_slab_(rows_per_slab_),
      arena_(arena) {}

RowStore::RowStore(const RowStore& other, Arena& arena)
    : row_floats_(other.row_floats_),
      rows_per_slab_(other.rows_per_slab_),
      times_offset_(other.times_offset_),
      counts_offset_(other.counts_offset_),
      place_bits_(other.place_bits_),
      rows_in_last_slab_(other.rows_in_last_slab_),
      first_free_(other.first_free_),
      arena_(arena) {
  slabs_.reserve(other.slabs_.size());
  for (const std::byte* slab : other.slabs_) {
    slabs_.push_back(static_cast<std::byte*>(arena_.allocate(kSlabBytes)));
    const size_t rows = slab == other.slabs_.back() ? rows_in_last_slab_ : rows_per_slab_;
    std::memcpy(slabs_.back(), slab, rows * row_floats_ * sizeof(float));
    std::memcpy(slabs_.back() + times_offset_, slab + times_offset_, rows * sizeof(int64_t));
    std::memcpy(slabs_.back() + counts_offset_, slab + counts_offset_, rows * sizeof(uint32_t));
  }
}

RowStore::~RowStore() {
  for (std::byte* slab : slabs_) arena_.free(slab, kSlabBytes);
}

uint32_t RowStore::allocate() {
  uint32_t row = first_free_;
  if (row != kNoFreeRow) {
    std::memcpy(&first_free_, values(row), sizeof(first_free_));
  } else {
    if (rows_in_last_slab_ == rows_per_slab_) {
      if ((slabs_.size() + 1) << place_bits_ > kNoFreeRow) throw std::bad_alloc();
      slabs_.reserve(slabs_.size() + 1);
      slabs_.push_back(static_cast<std::byte*>(arena_.allocate(kSlabBytes)));
      rows_in_last_slab_ = 0;
    }
    row = static_cast<uint32_t>((slabs_.size() - 1) << place_bits_ | rows_in_last_slab_++);
  }
  last_update_ms(row) = 0;
  count_and_mark(row) = 0;
  return row;
}

void RowStore::free(uint32_t row) {
  std::memcpy(values(row), &first_free_, sizeof(first_free_));
  first_free_ = row;
}

size_t RowStore::small_page_bytes() const {
  size_t total = slabs_.capacity() * sizeof(std::byte*);
  for (size_t s = 0; s < slabs_.size(); ++s) {
    if (arena_.is_huge(slabs_[s])) continue;
    total += touched_bytes(s + 1 == slabs_.size() ? rows_in_last_slab_ : rows_per_slab_);
  }
  return total;
}

size_t RowStore::touched_bytes(size_t rows) const {
  return pages(rows * row_floats_ * sizeof(float)) + pages(rows * sizeof(int64_t)) +
         pages(rows * sizeof(uint32_t));
}

}  // namespace freshet
