#include "gradient_policy.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "finite.h"

namespace freshet {

void GradientPolicy::apply(const float* gradients, size_t n, SummedGradients& sums, Probes& probes) {
  const bool sane = all_sane(gradients, n * dim_);
  if (bad_ == BadGradients::kRefuse) {
    if (!sane) throw std::invalid_argument("a gradient is NaN, infinite or beyond 1e+12");
    return;  // their sums are finite, too
  }
  if (sane && sums.sums_are_sane()) return;
  const auto is_sane = [&](const Probe& probe) { return all_sane(sums.of(probe), dim_); };
  if (bad_ == BadGradients::kSkip) {
    const size_t before = probes.all().size();
    probes.keep_if(is_sane);
    skipped_rows_.fetch_add(before - probes.all().size(), std::memory_order_relaxed);
    return;
  }
  for (Probe& probe : probes.all()) {
    if (!is_sane(probe)) clip(sums.own(probe));
  }
}

void GradientPolicy::clip(float* sum) {
  for (size_t d = 0; d < dim_; ++d) {
    sum[d] = std::isnan(sum[d]) ? 0.0f : std::clamp(sum[d], -kMaxGradient, kMaxGradient);
  }
  clipped_rows_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace freshet
