#include "measure.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <thread>

namespace freshet::bench {
namespace {

// Two threads that run for milliseconds may else share a processor to their end.
void stay_on_processor(size_t index) {
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  index %= static_cast<size_t>(CPU_COUNT(&allowed));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || index-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
    return;
  }
}

}  // namespace

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

// Each worker has a clock of its own: the thread that waits may wake up when they are half done.
double rate(std::span<const Batch> batches, size_t warm_up, size_t threads,
            const std::function<void(size_t, const Batch&, size_t)>& call,
            const std::function<void()>& ready) {
  std::barrier together(static_cast<std::ptrdiff_t>(threads), [&ready]() noexcept { ready(); });
  std::vector<Clock::time_point> starts(threads), ends(threads);
  std::vector<std::jthread> workers;
  for (size_t t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      stay_on_processor(t);
      for (size_t b = t; b < warm_up; b += threads) call(b, batches[b], t);
      together.arrive_and_wait();
      starts[t] = Clock::now();
      for (size_t b = warm_up + t; b < batches.size(); b += threads) call(b, batches[b], t);
      ends[t] = Clock::now();
    });
  }
  workers.clear();  // joins
  size_t ids = 0;
  for (const Batch& batch : batches.subspan(warm_up)) ids += batch.ids.size();
  const auto took = std::ranges::max(ends) - std::ranges::min(starts);
  return static_cast<double>(ids) / std::chrono::duration<double, std::micro>(took).count();
}

}  // namespace freshet::bench
