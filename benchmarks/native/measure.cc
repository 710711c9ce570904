#include "measure.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <thread>

namespace freshet::bench {

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

double rate(std::span<const Batch> batches, size_t threads,
            const std::function<void(size_t, const Batch&, size_t)>& call) {
  std::barrier together(static_cast<std::ptrdiff_t>(threads) + 1);
  std::vector<std::jthread> workers;
  for (size_t t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      together.arrive_and_wait();
      for (size_t b = t; b < batches.size(); b += threads) call(b, batches[b], t);
    });
  }
  together.arrive_and_wait();
  const Clock::time_point start = Clock::now();
  workers.clear();  // joins
  size_t ids = 0;
  for (const Batch& batch : batches) ids += batch.ids.size();
  return static_cast<double>(ids) / milliseconds_since(start) / 1e3;
}

}  // namespace freshet::bench
