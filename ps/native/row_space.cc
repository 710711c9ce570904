#include "row_space.h"

#include <algorithm>
#include <new>

#include "pages.h"

namespace freshet {
namespace {

constexpr size_t kSlabBytes = size_t{256} << 10;
constexpr size_t kCommitBytes = size_t{32} << 20;
// 64 segments with a slab each stay on small pages.
constexpr size_t kSmallPageBytes = 64 * kSlabBytes;
constexpr size_t kFewestReservedBytes = size_t{256} << 20;
constexpr size_t kMostRows = 0xfffffffe;

size_t span_bytes(size_t rows, size_t row_bytes) { return round_up(rows * row_bytes, kHugePageBytes); }

// Of the first `rows` rows.
size_t huge_part(size_t rows, size_t row_bytes) {
  const size_t bytes = rows * row_bytes;
  return bytes <= kSmallPageBytes ? 0 : round_up(bytes - kSmallPageBytes, kHugePageBytes);
}

size_t small_part(size_t first_row, size_t rows, size_t row_bytes) {
  return (first_row + rows) * row_bytes <= kSmallPageBytes ? round_up(rows * row_bytes, kPageBytes) : 0;
}

// Memory for the rows from `from` to `to`.
void commit_rows(void* base, size_t from, size_t to, size_t row_bytes) {
  auto* const start = static_cast<std::byte*>(base);
  const size_t begin = from == 0 ? 0 : span_bytes(from, row_bytes);
  const size_t end = span_bytes(to, row_bytes);
  if (begin == end) return;
  commit_pages(start + begin, end - begin);
  const size_t huge = std::max(begin, kSmallPageBytes);
  if (huge < end) ask_for_huge_pages(start + huge, end - huge);
}

}  // namespace

RowSpace::RowSpace(size_t row_floats)
    : row_floats_(row_floats), rows_per_slab_(kSlabBytes / (row_floats * sizeof(float))) {
  const size_t row_bytes = row_floats_ * sizeof(float);
  for (size_t bytes = 2 * physical_memory_bytes(); bytes >= kFewestReservedBytes; bytes /= 2) {
    most_rows_ = std::min(kMostRows, bytes / row_bytes);
    std::byte* values = reserve_pages(span_bytes(most_rows_, row_bytes));
    std::byte* meta = values ? reserve_pages(span_bytes(most_rows_, sizeof(RowMeta))) : nullptr;
    if (meta) {
      values_ = reinterpret_cast<float*>(values);
      meta_ = reinterpret_cast<RowMeta*>(meta);
      return;
    }
    if (values) release_pages(values, span_bytes(most_rows_, row_bytes));
  }
  throw std::bad_alloc();
}

RowSpace::~RowSpace() {
  release_pages(reinterpret_cast<std::byte*>(values_), span_bytes(most_rows_, row_floats_ * sizeof(float)));
  release_pages(reinterpret_cast<std::byte*>(meta_), span_bytes(most_rows_, sizeof(RowMeta)));
}

uint32_t RowSpace::take_slab() {
  std::lock_guard lock(mutex_);
  const size_t first = taken_rows_;
  commit(first + rows_per_slab_);
  taken_rows_ = first + rows_per_slab_;
  return static_cast<uint32_t>(first);
}

void RowSpace::take_as(const RowSpace& other) {
  std::lock_guard lock(mutex_);
  commit(other.taken_rows_);
  taken_rows_ = other.taken_rows_.load();
}

void RowSpace::commit(size_t rows) {
  if (rows <= committed_rows_) return;
  if (rows > most_rows_) throw std::bad_alloc();
  const size_t ahead = kCommitBytes / (row_floats_ * sizeof(float));
  const size_t target = std::min(most_rows_, std::max(rows, committed_rows_ + ahead));
  commit_rows(values_, committed_rows_, target, row_floats_ * sizeof(float));
  commit_rows(meta_, committed_rows_, target, sizeof(RowMeta));
  committed_rows_ = target;
}

size_t RowSpace::huge_bytes() const {
  if (!system_gives_huge_pages()) return 0;
  const size_t rows = taken_rows_;
  return huge_part(rows, row_floats_ * sizeof(float)) + huge_part(rows, sizeof(RowMeta));
}

size_t RowSpace::small_page_bytes(uint32_t slab, size_t rows) const {
  const size_t row_bytes = row_floats_ * sizeof(float);
  if (!system_gives_huge_pages()) {
    return round_up(rows * row_bytes, kPageBytes) + round_up(rows * sizeof(RowMeta), kPageBytes);
  }
  return small_part(slab, rows, row_bytes) + small_part(slab, rows, sizeof(RowMeta));
}

}  // namespace freshet
