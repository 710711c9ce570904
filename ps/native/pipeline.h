// The prefetch pipeline that all batch calls run through, and the order in which it takes locks.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "batch.h"
#include "segment.h"

namespace freshet {

using Segments = std::array<std::unique_ptr<Segment>, kSegments>;

enum class Access { kShared, kExclusive };

// Locks of the segments of a batch, taken in ascending order and each before the one before is given back:
// batches can't deadlock, and no batch overtakes another one in a walk over all segments.
template <Access kAccess>
class SegmentLocks {
 public:
  explicit SegmentLocks(const Segments& segments) : segments_(segments) {}
  ~SegmentLocks() {
    while (held_) release(static_cast<size_t>(std::countr_zero(held_)));
  }
  SegmentLocks(const SegmentLocks&) = delete;
  SegmentLocks& operator=(const SegmentLocks&) = delete;

  void acquire(size_t segment) {
    if constexpr (kAccess == Access::kShared) {
      segments_[segment]->mutex.lock_shared();
    } else {
      segments_[segment]->mutex.lock();
    }
    held_ |= uint64_t{1} << segment;
  }
  void release(size_t segment) {
    held_ &= ~(uint64_t{1} << segment);
    if constexpr (kAccess == Access::kShared) {
      segments_[segment]->mutex.unlock_shared();
    } else {
      segments_[segment]->mutex.unlock();
    }
  }
  void acquire_all() {
    for (size_t s = 0; s < kSegments; ++s) acquire(s);
  }

 private:
  const Segments& segments_;
  uint64_t held_ = 0;
};
static_assert(kSegments <= 64);

// Four stages, each kDistance ids behind the one before, so that the memory of one id is on its way while
// others are worked on: (1) take the lock, prefetch the first bucket; (2) search it, prefetch the row, or the
// second bucket, which only then is needed; (3) search that, prefetch the row; (4) `visit(segment, probe,
// row)`, row kNoRow when absent.
//
// A visit under the exclusive lock may insert. Ids further back may then have been moved or come into being,
// so a visitor that gets kNoRow must look again before it believes it; the pipeline itself only guards
// against buckets that are gone.
template <Access kAccess, class Prefetch, class Visit>
class Pipeline {
 public:
  Pipeline(const Segments& segments, const int64_t* ids, Prefetch prefetch, Visit visit)
      : segments_(segments), ids_(ids), prefetch_(prefetch), visit_(visit), locks_(segments) {}

  void run(const std::vector<Probe>& probes) {
    const size_t n = probes.size();
    for (size_t i = 0; i < n + 3 * kDistance; ++i) {
      if (i < n) enter(probes, i);
      if (i >= kDistance && i - kDistance < n) search_first(probes[i - kDistance], i - kDistance);
      if (i >= 2 * kDistance && i - 2 * kDistance < n)
        search_second(probes[i - 2 * kDistance], i - 2 * kDistance);
      if (i >= 3 * kDistance) finish(probes, i - 3 * kDistance);
    }
  }

 private:
  static constexpr size_t kDistance = 8;
  static constexpr size_t kRing = 32;
  static_assert(kRing > 3 * kDistance && std::has_single_bit(kRing));

  struct InFlight {
    const Bucket* first;
    const Bucket* second;  // null once there is no reason to look there
    uint64_t version;
    uint32_t row;
  };

  Segment& segment(const Probe& probe) const { return *segments_[segment_of(probe.hash)]; }
  bool is_stale(const Probe& probe, const InFlight& at) const {
    return kAccess == Access::kExclusive && segment(probe).map.version() != at.version;
  }

  void enter(const std::vector<Probe>& probes, size_t i) {
    const size_t s = segment_of(probes[i].hash);
    if (i == 0 || segment_of(probes[i - 1].hash) != s) locks_.acquire(s);
    const GrowingMap& map = segments_[s]->map;
    const CuckooMap& piece = map.piece(probes[i].hash);
    const CuckooMap::Choice choice = piece.choose(probes[i].hash);
    InFlight& at = ring_[i % kRing];
    at = {piece.bucket(choice.first), piece.bucket(choice.second), map.version(), kNoRow};
    __builtin_prefetch(at.first);
  }

  void search_first(const Probe& probe, size_t i) {
    InFlight& at = ring_[i % kRing];
    if (is_stale(probe, at)) return;
    at.row = at.first->find(ids_[probe.position]);
    if (at.row != kNoRow) {
      prefetch_(segment(probe), at.row);
      at.second = nullptr;
    } else if (at.first->away == 0) {
      at.second = nullptr;
    } else {
      __builtin_prefetch(at.second);
    }
  }

  void search_second(const Probe& probe, size_t i) {
    InFlight& at = ring_[i % kRing];
    if (!at.second || is_stale(probe, at)) return;
    at.row = at.second->find(ids_[probe.position]);
    if (at.row != kNoRow) prefetch_(segment(probe), at.row);
  }

  void finish(const std::vector<Probe>& probes, size_t i) {
    const Probe& probe = probes[i];
    visit_(segment(probe), probe, ring_[i % kRing].row);
    const size_t s = segment_of(probe.hash);
    if (i + 1 == probes.size() || segment_of(probes[i + 1].hash) != s) locks_.release(s);
  }

  const Segments& segments_;
  const int64_t* ids_;
  Prefetch prefetch_;
  Visit visit_;
  SegmentLocks<kAccess> locks_;
  std::array<InFlight, kRing> ring_;
};

}  // namespace freshet
