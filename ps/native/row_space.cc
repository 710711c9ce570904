#include "row_space.h"

#include <algorithm>
#include <new>

#include "pages.h"

namespace freshet {
namespace {

// Each of 64 segments has one that is used in part: half a slab that nobody uses.
constexpr size_t kSlabBytes = size_t{64} << 10;
constexpr size_t kCommitBytes = size_t{32} << 20;
constexpr size_t kSmallPageBytes = size_t{16} << 20;
constexpr size_t kFewestReservedBytes = size_t{256} << 20;
constexpr size_t kMostRows = 0xfffffffe;

size_t reserved_bytes(size_t bytes) { return round_up(bytes, kHugePageBytes); }

// Of the first bytes.
size_t huge_part(size_t bytes) {
  return bytes <= kSmallPageBytes ? 0 : round_up(bytes - kSmallPageBytes, kHugePageBytes);
}

// Bytes on small pages of a slab from `start` to `end` whose bytes up to `used_end` are used: all pages that
// these touch. Full slabs are many and share the pages at their ends.
size_t small_part(size_t start, size_t used_end, size_t end) {
  const size_t touched = round_up(used_end, kPageBytes) - start / kPageBytes * kPageBytes;
  const size_t bytes = used_end == end ? end - start : touched;
  if (!system_gives_huge_pages()) return bytes;
  return std::min(bytes, kSmallPageBytes - std::min(start, kSmallPageBytes));
}

// Memory from one offset, up to which there is some, to the other.
void commit_bytes(void* base, size_t from, size_t to) {
  auto* const start = static_cast<std::byte*>(base);
  const size_t begin = round_up(from, kHugePageBytes);
  const size_t end = round_up(to, kHugePageBytes);
  if (begin == end) return;
  commit_pages(start + begin, end - begin);
  const size_t huge = std::max(begin, kSmallPageBytes);
  if (huge < end) ask_for_huge_pages(start + huge, end - huge);
}

}  // namespace

RowSpace::RowSpace(size_t row_bytes) : row_bytes_(row_bytes), rows_per_slab_(kSlabBytes / row_bytes) {
  for (size_t bytes = 2 * physical_memory_bytes(); bytes >= kFewestReservedBytes; bytes /= 2) {
    most_rows_ = std::min(kMostRows, bytes / row_bytes);
    std::byte* rows = reserve_pages(reserved_bytes(offset(most_rows_)));
    std::byte* meta = rows ? reserve_pages(reserved_bytes(meta_offset(most_rows_))) : nullptr;
    if (meta) {
      rows_ = rows;
      meta_ = reinterpret_cast<RowMeta*>(meta);
      return;
    }
    if (rows) release_pages(rows, reserved_bytes(offset(most_rows_)));
  }
  throw std::bad_alloc();
}

RowSpace::~RowSpace() {
  release_pages(rows_, reserved_bytes(offset(most_rows_)));
  release_pages(reinterpret_cast<std::byte*>(meta_), reserved_bytes(meta_offset(most_rows_)));
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
  const size_t ahead = kCommitBytes / row_bytes_;
  const size_t target = std::min(most_rows_, std::max(rows, committed_rows_ + ahead));
  commit_bytes(rows_, offset(committed_rows_), offset(target));
  commit_bytes(meta_, meta_offset(committed_rows_), meta_offset(target));
  committed_rows_ = target;
}

size_t RowSpace::huge_bytes() const {
  if (!system_gives_huge_pages()) return 0;
  const size_t rows = taken_rows_;
  return huge_part(offset(rows)) + huge_part(meta_offset(rows));
}

size_t RowSpace::small_page_bytes(uint32_t slab, size_t rows) const {
  const size_t used_end = slab + rows, end = slab + rows_per_slab_;
  return small_part(offset(slab), offset(used_end), offset(end)) +
         small_part(meta_offset(slab), meta_offset(used_end), meta_offset(end));
}

}  // namespace freshet
