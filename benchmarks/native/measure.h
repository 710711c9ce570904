// Rates of threads that start together, and medians.
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <vector>

#include "contender.h"

namespace freshet::bench {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start);
double quantile(std::vector<double> values, double q);

// Millions of ids a second: `call(batch index, batch, thread)` for every batch, dealt out to the threads. The
// clock starts after the first `warm_up` of them: until then what others left in the caches and in their
// rules of replacement goes, and the page tables come, which takes half a million ids.
// Just before it does, one thread makes the call `ready`.
double rate(
    std::span<const Batch> batches, size_t warm_up, size_t threads,
    const std::function<void(size_t, const Batch&, size_t)>& call,
    const std::function<void()>& ready = [] {});

}  // namespace freshet::bench
