#include "batch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "finite.h"
#include "hash.h"
#include "vectorise.h"

namespace freshet {
namespace {

// Of `probes` in the order of segments: the indices of those seen in the segment under way, open-addressed by
// hash. Nothing is cleared for the next segment: what was seen of earlier ones has lower indices.
class SeenInSegment {
 public:
  SeenInSegment(const Probe* probes, size_t longest_run)
      : probes_(probes), mask_(slots_for(longest_run) - 1), ends_(mask_ + 1) {}

  void begin_segment(uint32_t index) { begin_ = index; }
  // The index of the probe with this hash, or, if there is none, `index`, where it will be.
  uint32_t find_or_add(uint64_t hash, uint32_t index) {
    for (size_t slot = hash & mask_;; slot = (slot + 1) & mask_) {
      const uint32_t end = ends_[slot];
      if (end <= begin_) {
        ends_[slot] = index + 1;
        return index;
      }
      if (probes_[end - 1].hash == hash) return end - 1;
    }
  }

 private:
  // Sparse, as long as it fits into the first-level cache.
  static size_t slots_for(size_t longest_run) {
    return std::bit_ceil(std::max(std::min<size_t>(16 * longest_run, 2048), 4 * longest_run) + 1);
  }

  const Probe* probes_;
  size_t mask_;
  std::vector<uint32_t> ends_;  // index + 1
  uint32_t begin_ = 0;
};

FRESHET_INLINE void mix_loop(const int64_t* ids, size_t n, uint64_t seed, uint64_t* hashes) {
  for (size_t i = 0; i < n; ++i) hashes[i] = mix(static_cast<uint64_t>(ids[i]), seed);
}
void mix_portable(const int64_t* ids, size_t n, uint64_t seed, uint64_t* hashes) {
  mix_loop(ids, n, seed, hashes);
}
FRESHET_AVX512 void mix_avx512(const int64_t* ids, size_t n, uint64_t seed, uint64_t* hashes) {
  mix_loop(ids, n, seed, hashes);
}
void mix_all(const int64_t* ids, size_t n, uint64_t seed, uint64_t* hashes) {
  return has_avx512() ? mix_avx512(ids, n, seed, hashes) : mix_portable(ids, n, seed, hashes);
}

}  // namespace

std::vector<uint64_t> hash_all(const int64_t* ids, size_t n, uint64_t seed) {
  std::vector<uint64_t> hashes(n);
  mix_all(ids, n, seed, hashes.data());
  return hashes;
}

Probes::Probes(const int64_t* ids, size_t n, uint64_t seed)
    : size_(n), probes_(std::make_unique_for_overwrite<Probe[]>(n)) {
  const auto hashes = std::make_unique_for_overwrite<uint64_t[]>(n);
  mix_all(ids, n, seed, hashes.get());
  sort({hashes.get(), n});
}

Probes::Probes(std::span<const uint64_t> hashes)
    : size_(hashes.size()), probes_(std::make_unique_for_overwrite<Probe[]>(hashes.size())) {
  sort(hashes);
}

void Probes::sort(std::span<const uint64_t> hashes) {
  std::array<uint32_t, kSegments> counts{}, next{};
  for (const uint64_t hash : hashes) ++counts[segment_of(hash)];
  longest_run_ = std::ranges::max(counts);
  std::exclusive_scan(counts.begin(), counts.end(), next.begin(), 0u);
  for (size_t i = 0; i < size_; ++i) {
    probes_[next[segment_of(hashes[i])]++] = {hashes[i], static_cast<uint32_t>(i), kCallers};
  }
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

SummedGradients::SummedGradients(Probes& probes, const float* gradients, size_t dim)
    : gradients_(gradients), dim_(dim) {
  const std::span<Probe> all = probes.all();
  SeenInSegment seen(all.data(), probes.longest_run());
  uint32_t kept = 0;
  for (size_t i = 0; i < all.size();) {
    const size_t segment = segment_of(all[i].hash);
    seen.begin_segment(kept);
    for (; i < all.size() && segment_of(all[i].hash) == segment; ++i) {
      const uint32_t first = seen.find_or_add(all[i].hash, kept);
      if (first != kept) {
        add(all[first], all[i].position);
        continue;
      }
      if (kept != i) all[kept] = all[i];
      ++kept;
    }
  }
  probes.keep_first(kept);
}

bool SummedGradients::sums_are_sane() const { return all_sane(sums_.data(), sums_.size()); }

float* SummedGradients::own(Probe& probe) {
  if (probe.sum == Probes::kCallers) {
    const float* const of_caller = of(probe);
    probe.sum = static_cast<uint32_t>(sums_.size() / dim_);
    sums_.insert(sums_.end(), of_caller, of_caller + dim_);
  }
  return sums_.data() + size_t{probe.sum} * dim_;
}

void SummedGradients::add(Probe& first, size_t repeat) {
  float* const sum = own(first);
  for (size_t d = 0; d < dim_; ++d) sum[d] += gradients_[repeat * dim_ + d];
}

}  // namespace freshet
