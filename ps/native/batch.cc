#include "batch.h"

#include <algorithm>
#include <array>
#include <bit>

#include "finite.h"
#include "hash.h"

namespace freshet {

std::vector<uint64_t> hash_all(const int64_t* ids, size_t n, uint64_t seed) {
  std::vector<uint64_t> hashes(n);
  for (size_t i = 0; i < n; ++i) hashes[i] = mix(static_cast<uint64_t>(ids[i]), seed);
  return hashes;
}

std::vector<Probe> by_segment(const std::vector<uint64_t>& hashes, const std::vector<bool>& skip) {
  std::array<uint32_t, kSegments + 1> start{};
  const auto kept = [&skip](size_t i) { return skip.empty() || !skip[i]; };
  for (size_t i = 0; i < hashes.size(); ++i) start[segment_of(hashes[i]) + 1] += kept(i);
  for (size_t s = 1; s <= kSegments; ++s) start[s] += start[s - 1];
  std::vector<Probe> probes(start[kSegments]);
  for (size_t i = 0; i < hashes.size(); ++i) {
    if (kept(i)) probes[start[segment_of(hashes[i])]++] = {hashes[i], static_cast<uint32_t>(i)};
  }
  return probes;
}

FirstPositions::FirstPositions(const std::vector<uint64_t>& hashes)
    : hashes_(hashes), mask_(std::bit_ceil(2 * hashes.size() + 1) - 1), positions_(mask_ + 1, kNone) {}

UniqueIds::UniqueIds(const int64_t* of, const std::vector<uint64_t>& hashes_of) : inverse(hashes_of.size()) {
  FirstPositions firsts(hashes_of);
  for (uint32_t i = 0; i < hashes_of.size(); ++i) {
    const uint32_t first = firsts.of(i);
    if (first == i) {
      inverse[i] = static_cast<int32_t>(ids.size());
      ids.push_back(of[i]);
      hashes.push_back(hashes_of[i]);
    } else {
      inverse[i] = inverse[first];
    }
  }
}

SummedGradients::SummedGradients(const std::vector<uint64_t>& hashes, const float* gradients, size_t dim)
    : gradients_(gradients), size_(hashes.size()), dim_(dim) {
  FirstPositions firsts(hashes);
  for (uint32_t i = 0; i < size_; ++i) {
    const uint32_t first = firsts.of(i);
    if (first != i) add(first, i);
  }
}

bool SummedGradients::sums_are_sane() const { return all_sane(sums_.data(), sums_.size()); }

float* SummedGradients::own(size_t first) {
  if (sum_of_.empty()) sum_of_.resize(size_, kNone);
  if (sum_of_[first] == kNone) {
    sum_of_[first] = static_cast<uint32_t>(sums_.size() / dim_);
    sums_.insert(sums_.end(), gradients_ + first * dim_, gradients_ + (first + 1) * dim_);
  }
  return sums_.data() + size_t{sum_of_[first]} * dim_;
}

void SummedGradients::leave_out(size_t position) {
  if (skipped_.empty()) skipped_.resize(size_);
  skipped_[position] = true;
}

void SummedGradients::add(size_t first, size_t repeat) {
  leave_out(repeat);
  float* sum = own(first);
  for (size_t d = 0; d < dim_; ++d) sum[d] += gradients_[repeat * dim_ + d];
}

}  // namespace freshet
