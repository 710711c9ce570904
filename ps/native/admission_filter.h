// Counts how often ids that have no row yet were seen lately, in a fixed amount of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace freshet {

// A cuckoo filter whose cells count: two candidate buckets of four cells for each id, an id's other bucket
// computed from its fingerprint (Fan et al., CoNEXT 2014). A cell has 28 bits:
//
//     2 generation (0: empty) | 26 - c fingerprint | c count - 1, c = bit_width(min_count - 2)
//
// Memory: 3.5 bytes a cell, 0.9 of the cells used: 3.9 bytes for each of `tracked_ids`, never more.
//
// Window: event time is cut into halves of the window. Only the current and the one before count, so an id is
// admitted after `min_count` sightings within `window_ms` and no fewer, and always when they lie within half
// of it. An id seen in both halves takes two cells. Cells of older halves are purged piece by piece.
//
// When all are used, the older half is given up before its time: the window gets shorter, nothing is admitted
// that should not be.
//
// Error: an id shares a cell, and so its count, when another with the same fingerprint lies in one of its
// buckets: for at most 8 cells in 2^(26 - c), `false_share()`: 1.2e-7 of the ids at min_count 2, 1.9e-6 at
// 17, 3.1e-5 at 257, 7.8e-3 at 65,535. The two need `min_count` sightings together: one is admitted early,
// the other counts anew.
//
// Not thread-safe: the table's bounds have the lock.
class AdmissionFilter {
 public:
  // `min_count` 2 to 65,535. `window_ms` 0: sightings never age.
  AdmissionFilter(uint32_t min_count, int64_t window_ms, size_t tracked_ids, uint64_t seed);

  // What is older than the window before `now_ms` no longer counts.
  void advance_to(int64_t now_ms);
  // One more sighting; true, and forgets the id, when it was the last one needed.
  bool sight(int64_t id);
  // Sightings that count now.
  uint32_t count(int64_t id) const;
  void prefetch_cells(int64_t id) const;

  double false_share() const;
  size_t bytes() const { return cells_.size(); }
  // Times that it gave up the older half for want of cells.
  uint64_t overflows() const { return overflows_; }

  // As numbers and bytes for a snapshot; of another layout: false, and nothing has changed.
  static constexpr size_t kNumbers = 9;
  void save(std::vector<int64_t>& numbers, std::vector<uint8_t>& cells) const;
  bool restore(const int64_t* numbers, const std::vector<uint8_t>& cells);

 private:
  static constexpr unsigned kSlots = 4;
  static constexpr unsigned kCellBits = 28;
  static constexpr unsigned kGenerationShift = kCellBits - 2;
  static constexpr size_t kBucketBytes = kSlots * kCellBits / 8;
  static constexpr unsigned kMostKicks = 500;
  static constexpr size_t kPurgedPerAdvance = 4096;
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

  struct Home {
    uint32_t first;
    uint32_t second;
    uint32_t fingerprint;
  };

  Home home(int64_t id) const;
  uint32_t other(uint32_t bucket, uint32_t fingerprint) const;
  uint8_t* half(uint32_t bucket, unsigned slot) {
    return cells_.data() + bucket * kBucketBytes + slot / 2 * 7;
  }
  uint32_t cell(uint32_t bucket, unsigned slot) const;
  void set_cell(uint32_t bucket, unsigned slot, uint32_t cell);
  uint32_t fingerprint_of(uint32_t cell) const {
    return (cell & ((1u << kGenerationShift) - 1)) >> count_bits_;
  }
  uint32_t count_of(uint32_t cell) const { return (cell & ((1u << count_bits_) - 1)) + 1; }
  uint32_t stale() const { return generation_ % 3 + 1; }  // the one before the one before
  bool is_free(uint32_t cell) const { return cell == 0 || cell >> kGenerationShift == stale(); }
  template <class Visit>
  void for_each_match(const Home& home, Visit visit) const;
  void insert(const Home& home);
  bool put(uint32_t bucket, uint32_t cell);
  void advance();
  void purge(size_t buckets);
  void clear();

  uint32_t min_count_;
  int64_t half_window_ms_;
  size_t tracked_ids_;
  uint64_t seed_;
  unsigned count_bits_;
  uint32_t buckets_;
  uint32_t generation_ = 1;  // 1, 2, 3, 1, ...
  int64_t halves_ = kNever;  // halves of the window since 1970
  size_t used_ = 0;          // cells, stale ones too
  size_t purged_;            // buckets that hold nothing stale
  uint64_t kicks_ = 0;
  uint64_t overflows_ = 0;
  std::vector<uint8_t> cells_;
};

}  // namespace freshet
