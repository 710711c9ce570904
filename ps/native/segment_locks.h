// The order in which a call takes the locks of segments.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "batch.h"
#include "segment.h"

namespace freshet {

using Segments = std::array<std::unique_ptr<Segment>, kSegments>;

enum class Access { kShared, kExclusive };

// Locks are taken in ascending order, and the next one before the one before is given back: calls can't
// deadlock, and a batch can't overtake a call that holds all of them, nor the other way round. Gives back
// what it holds when it dies.
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

}  // namespace freshet
