// What a batch call prepares before it takes a lock: hashes, order by segment, sums of repeated gradients.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace freshet {

inline constexpr unsigned kSegmentBits = 6;
inline constexpr size_t kSegments = size_t{1} << kSegmentBits;

inline size_t segment_of(uint64_t hash) { return hash >> (64 - kSegmentBits); }

// One id of a batch: its hash and where it stands in the caller's arrays.
struct Probe {
  uint64_t hash;
  uint32_t position;
  uint32_t sum;  // which of SummedGradients is its gradient; kCallers: the caller's own
};

std::vector<uint64_t> hash_all(const int64_t* ids, size_t n, uint64_t seed);

// The ids of a batch ordered by segment; those of one segment keep the caller's order.
class Probes {
 public:
  static constexpr uint32_t kCallers = 0xffffffff;

  Probes(const int64_t* ids, size_t n, uint64_t seed);
  explicit Probes(std::span<const uint64_t> hashes);

  operator std::span<const Probe>() const { return {probes_.get(), size_}; }
  std::span<Probe> all() { return {probes_.get(), size_}; }
  // Leaves the others out.
  template <class Keep>
  void keep_if(Keep keep) {
    size_ = static_cast<size_t>(std::remove_if(probes_.get(), probes_.get() + size_, std::not_fn(keep)) -
                                probes_.get());
  }
  void keep_first(size_t n) { size_ = n; }
  // At least as many as there are of one segment.
  size_t longest_run() const { return longest_run_; }

 private:
  void sort(std::span<const uint64_t> hashes);

  size_t size_;
  size_t longest_run_ = 0;
  std::unique_ptr<Probe[]> probes_;
};

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

// Gradients with those of repeated ids added up, in the caller's order.
class SummedGradients {
 public:
  // Leaves in `probes` each id once, where it is first.
  SummedGradients(Probes& probes, const float* gradients, size_t dim);

  // The gradient of one of them.
  const float* of(const Probe& probe) const {
    return probe.sum == Probes::kCallers ? gradients_ + probe.position * dim_
                                         : sums_.data() + size_t{probe.sum} * dim_;
  }
  // The same, to be changed.
  float* own(Probe& probe);
  // Whether no sum of several is NaN, infinite or beyond kMaxGradient.
  bool sums_are_sane() const;

 private:
  void add(Probe& first, size_t repeat);

  const float* gradients_;
  size_t dim_;
  std::vector<float> sums_;
};

}  // namespace freshet
