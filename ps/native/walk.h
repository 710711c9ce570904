// One batch through the pipeline, on one thread or several.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <new>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "pipeline.h"

namespace freshet {

// Threads of one change take their first locks in the order of their parts, and none gives one back before
// all have theirs. So two batches can't overtake each other, nor one that holds all locks, and each thread
// waits only for locks above those it holds: no deadlock.
class StartGate {
 public:
  template <class TakeLock>
  void enter(unsigned turn, TakeLock take_lock) {
    wait_turn(turn);
    take_lock();
    turn_ = turn + 1;
    turn_.notify_all();
    open_.wait(false);
  }
  // The last to enter: all others have their locks.
  template <class TakeLock>
  void enter_last(unsigned turn, TakeLock take_lock) {
    wait_turn(turn);
    take_lock();
    open_ = true;
    open_.notify_all();
  }

 private:
  void wait_turn(unsigned turn) {
    for (unsigned now = turn_; now != turn; now = turn_) turn_.wait(now);
  }

  std::atomic<unsigned> turn_ = 0;
  std::atomic<bool> open_ = false;
};

// A thread takes about 20 µs to start, in which another does some thousand ids.
inline constexpr size_t kFewestIdsPerThread = 4096;

// Runs `visit` (see Pipeline) on up to `threads` threads: each has segments of its own, so visits need no
// locking more. Throws what the first of them throws, after all have ended.
template <Access kAccess, class Prefetch, class Visit>
class Walk {
 public:
  Walk(const Segments& segments, Prefetch prefetch, Visit visit)
      : segments_(segments), prefetch_(prefetch), visit_(visit) {}

  void run(std::span<const Probe> probes, size_t threads) {
    threads = std::min(threads, probes.size() / kFewestIdsPerThread);
    if (threads <= 1) {
      Pipe pipe(segments_, probes, prefetch_, visit_);
      pipe.lock_first();
      pipe.run();
      return;
    }
    run_parts(probes, threads);
  }

 private:
  using Pipe = Pipeline<kAccess, Prefetch, Visit>;

  // The caller's thread does the last part, and whatever no thread could be had for.
  void run_parts(std::span<const Probe> probes, size_t threads) {
    std::vector<std::exception_ptr> errors(threads);
    {
      std::vector<std::jthread> helpers;
      helpers.reserve(threads - 1);
      try {
        for (size_t left = threads; left > 1; --left) {
          const std::span<const Probe> part = first_part(probes, left);
          if (part.size() == probes.size()) break;
          const auto turn = static_cast<unsigned>(helpers.size());
          helpers.emplace_back([this, part, turn, &error = errors[turn]] {
            run_part(part, error, [&](auto lock) { gate_.enter(turn, lock); });
          });
          probes = probes.subspan(part.size());
        }
      } catch (const std::system_error&) {  // the system has no more threads
      } catch (const std::bad_alloc&) {
      }
      const auto last = static_cast<unsigned>(helpers.size());
      run_part(probes, errors[last], [&](auto lock) { gate_.enter_last(last, lock); });
    }
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  }

  // One of `parts` equal parts, up to where a segment ends.
  static std::span<const Probe> first_part(std::span<const Probe> probes, size_t parts) {
    size_t end = probes.size() / parts;
    while (end < probes.size() && segment_of(probes[end].hash) == segment_of(probes[end - 1].hash)) ++end;
    return probes.first(end);
  }

  template <class Enter>
  void run_part(std::span<const Probe> part, std::exception_ptr& error, Enter enter) {
    bool entered = kAccess == Access::kShared;
    try {
      Pipe pipe(segments_, part, prefetch_, visit_);
      if constexpr (kAccess == Access::kExclusive) {
        entered = true;
        enter([&pipe] { pipe.lock_first(); });
      } else {
        pipe.lock_first();
      }
      pipe.run();
    } catch (...) {
      error = std::current_exception();
      if (!entered) enter([] {});  // the others wait for it
    }
  }

  const Segments& segments_;
  Prefetch prefetch_;
  Visit visit_;
  StartGate gate_;
};

}  // namespace freshet
