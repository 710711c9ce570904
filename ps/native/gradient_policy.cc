#include "gradient_policy.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "finite.h"

namespace freshet {

void GradientPolicy::apply(const float* gradients, SummedGradients& sums) {
  const bool sane = all_sane(gradients, sums.size() * dim_);
  if (bad_ == BadGradients::kRefuse) {
    if (!sane) throw std::invalid_argument("a gradient is NaN, infinite or beyond 1e+12");
    return;  // their sums are finite, too
  }
  if (sane && sums.sums_are_sane()) return;
  for (size_t i = 0; i < sums.size(); ++i) {
    const bool repeats = !sums.skipped().empty() && sums.skipped()[i];
    if (!repeats && !all_sane(sums.at(i), dim_)) treat(sums, i);
  }
}

void GradientPolicy::treat(SummedGradients& sums, size_t position) {
  if (bad_ == BadGradients::kSkip) {
    sums.leave_out(position);
    skipped_rows_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  float* const sum = sums.own(position);
  for (size_t d = 0; d < dim_; ++d) {
    sum[d] = std::isnan(sum[d]) ? 0.0f : std::clamp(sum[d], -kMaxGradient, kMaxGradient);
  }
  clipped_rows_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace freshet
