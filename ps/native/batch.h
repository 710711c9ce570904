// What a batch call prepares before it takes a lock: hashes, order by segment, sums of repeated gradients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace freshet {

inline constexpr unsigned kSegmentBits = 6;
inline constexpr size_t kSegments = size_t{1} << kSegmentBits;

inline size_t segment_of(uint64_t hash) { return hash >> (64 - kSegmentBits); }

// One id of a batch: its hash and where it stands in the caller's arrays.
struct Probe {
  uint64_t hash;
  uint32_t position;
};

std::vector<uint64_t> hash_all(const int64_t* ids, size_t n, uint64_t seed);

// Ordered by segment; ids of one segment keep the caller's order. Leaves out the positions marked in `skip`
// (may be empty: none).
std::vector<Probe> by_segment(const std::vector<uint64_t>& hashes, const std::vector<bool>& skip);

// Finds repeats in a batch: an open-addressed set of positions.
class FirstPositions {
 public:
  explicit FirstPositions(const std::vector<uint64_t>& hashes);

  // The lowest position with the hash of `position`; all below must have been asked for.
  uint32_t of(uint32_t position) {
    size_t slot = hashes_[position] & mask_;
    while (positions_[slot] != kNone && hashes_[positions_[slot]] != hashes_[position]) {
      slot = (slot + 1) & mask_;
    }
    if (positions_[slot] == kNone) positions_[slot] = position;
    return positions_[slot];
  }

 private:
  static constexpr uint32_t kNone = 0xffffffff;

  const std::vector<uint64_t>& hashes_;
  size_t mask_;
  std::vector<uint32_t> positions_;
};

// The distinct ids of a batch, in the order of their first positions.
struct UniqueIds {
  UniqueIds(const int64_t* of, const std::vector<uint64_t>& hashes_of);

  std::vector<int64_t> ids;
  std::vector<uint64_t> hashes;
  std::vector<int32_t> inverse;  // where each id of the batch is among them
};

// Gradients with those of repeated ids added up, in the caller's order, at the id's first position.
class SummedGradients {
 public:
  SummedGradients(const std::vector<uint64_t>& hashes, const float* gradients, size_t dim);

  size_t size() const { return size_; }

  // The gradient of the id whose first position this is.
  const float* at(size_t position) const {
    if (sum_of_.empty() || sum_of_[position] == kNone) return gradients_ + position * dim_;
    return sums_.data() + size_t{sum_of_[position]} * dim_;
  }
  // The same, to be changed.
  float* own(size_t first);
  // Positions without a gradient of their own: they repeat an earlier one, or were left out. Empty: none.
  const std::vector<bool>& skipped() const { return skipped_; }
  void leave_out(size_t position);
  // Whether no sum is NaN, infinite or beyond kMaxGradient.
  bool sums_are_sane() const;

 private:
  static constexpr uint32_t kNone = 0xffffffff;

  void add(size_t first, size_t repeat);

  const float* gradients_;
  size_t size_;
  size_t dim_;
  std::vector<bool> skipped_;
  std::vector<uint32_t> sum_of_;
  std::vector<float> sums_;
};

}  // namespace freshet
