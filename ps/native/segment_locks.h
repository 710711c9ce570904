// The order in which a call takes the locks of segments.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <shared_mutex>

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
    std::shared_mutex& mutex = segments_[segment]->mutex;
    if (!soon_locked(mutex)) {
      if constexpr (kAccess == Access::kShared) {
        mutex.lock_shared();
      } else {
        mutex.lock();
      }
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
  // 25 µs on an EPYC (Zen 4): a batch is through with a segment after ten, and a thread that sleeps takes
  // longer to wake up.
  static constexpr unsigned kTries = 1000;

  static bool soon_locked(std::shared_mutex& mutex) {
    for (unsigned tries = kTries; tries > 0; --tries) {
      if (kAccess == Access::kShared ? mutex.try_lock_shared() : mutex.try_lock()) return true;
      pause();
    }
    return false;
  }
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
  }

  const Segments& segments_;
  uint64_t held_ = 0;
};
static_assert(kSegments <= 64);

}  // namespace freshet
