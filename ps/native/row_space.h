// The address space of a table's rows: row number times stride, no indirection.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "prefetch.h"

namespace freshet {

// What is known about a row beside its values: 12 bytes, so that it adds little to a short row.
class RowMeta {
 public:
  int64_t last_update_ms() const { return std::bit_cast<int64_t>(last_update_ms_); }
  void set_last_update_ms(int64_t ts_ms) { last_update_ms_ = std::bit_cast<Halves>(ts_ms); }
  // Steps of the optimizer; stays at kMaxCount.
  uint32_t count() const { return count_and_flags_ & kMaxCount; }
  void set_count(uint32_t count) {
    count_and_flags_ = (count_and_flags_ & ~kMaxCount) | (count < kMaxCount ? count : kMaxCount);
  }
  void count_up() { count_and_flags_ += count() < kMaxCount; }
  // `listed`, and the cut bit above.
  uint32_t flags() const { return count_and_flags_ >> kCountBits; }
  // Bit m: the row is listed as touched since mark m.
  uint32_t listed() const { return flags() & kAllMarks; }
  void set_listed(uint32_t marks) {
    count_and_flags_ = (count_and_flags_ & ~(kAllMarks << kCountBits)) | marks << kCountBits;
  }
  // What it means changes with every cut (PendingCut).
  bool cut_bit() const { return flags() >> kMarks; }
  void set_cut_bit(bool bit) {
    constexpr uint32_t kBit = 1u << (kCountBits + kMarks);
    count_and_flags_ = bit ? count_and_flags_ | kBit : count_and_flags_ & ~kBit;
  }

  static constexpr unsigned kMarks = 3;
  static constexpr unsigned kCountBits = 31 - kMarks;
  static constexpr uint32_t kMaxCount = (1u << kCountBits) - 1;

 private:
  using Halves = std::array<uint32_t, 2>;  // of an int64_t, which would be aligned to 8 bytes

  static constexpr uint32_t kAllMarks = (1u << kMarks) - 1;

  Halves last_update_ms_;
  uint32_t count_and_flags_;
};
static_assert(sizeof(RowMeta) == 12);

// Address space for more rows than the machine has memory for is reserved at the start and filled slab by
// slab, so a row never moves, and is found without reading anything. Rows and their metadata are two such
// spaces: an embedding of 16 floats is one line, and a lookup reads nothing else. Huge pages by madvise,
// except for the first megabytes: a small table must not cost 2 MiB per touched page. `take_slab` is
// thread-safe.
//
// Every 512 rows a line is left out. Rows of 128 bytes would else all begin in lines of even number, and a
// processor that deals its lines out by number (AMD's second-level cache) gathers those at half the speed.
class RowSpace {
 public:
  static constexpr size_t kRowsBetweenGaps = 512;

  explicit RowSpace(size_t row_bytes);
  ~RowSpace();
  RowSpace(const RowSpace&) = delete;
  RowSpace& operator=(const RowSpace&) = delete;

  // The first of `rows_per_slab` rows that nobody has. Throws std::bad_alloc.
  uint32_t take_slab();
  // Makes this space, which must be empty, have the slabs that `other` has; contents are not copied.
  void take_as(const RowSpace& other);

  std::byte* at(uint32_t row) const { return rows_ + offset(row); }
  RowMeta& meta(uint32_t row) const { return meta_[row]; }
  size_t row_bytes() const { return row_bytes_; }
  size_t rows_per_slab() const { return rows_per_slab_; }

  // Bytes that huge pages take whole, and bytes of small pages that hold the first `rows` rows of this slab.
  size_t huge_bytes() const;
  size_t small_page_bytes(uint32_t slab, size_t rows) const;

 private:
  size_t offset(size_t row) const { return row * row_bytes_ + row / kRowsBetweenGaps * kLineBytes; }
  static size_t meta_offset(size_t row) { return row * sizeof(RowMeta); }
  void commit(size_t rows);

  size_t row_bytes_;
  size_t rows_per_slab_;
  size_t most_rows_;
  std::mutex mutex_;
  std::atomic<size_t> taken_rows_ = 0;
  size_t committed_rows_ = 0;
  std::byte* rows_;
  RowMeta* meta_;
};

}  // namespace freshet
