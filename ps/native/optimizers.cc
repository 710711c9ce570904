#include "optimizers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "vectorise.h"

namespace freshet {
namespace {

constexpr size_t kPrecomputedRates = 4096;

FRESHET_INLINE float with_l2(float gradient, float weight, float l2) { return gradient + 2.0f * l2 * weight; }

FRESHET_INLINE void sgd(const OptimizerConstants& c, size_t dim, float* __restrict w,
                        const float* __restrict g) {
  for (size_t i = 0; i < dim; ++i) w[i] -= c.learning_rate * with_l2(g[i], w[i], c.l2);
}

FRESHET_INLINE void adagrad(const OptimizerConstants& c, size_t dim, float* __restrict w,
                            float* __restrict sum, const float* __restrict g) {
  for (size_t i = 0; i < dim; ++i) {
    const float gradient = with_l2(g[i], w[i], c.l2);
    sum[i] += gradient * gradient;
    w[i] -= c.learning_rate * gradient / std::sqrt(sum[i] + c.epsilon);
  }
}

FRESHET_INLINE void adam(const OptimizerConstants& c, float rate, size_t dim, float* __restrict w,
                         float* __restrict m, float* __restrict v, const float* __restrict g) {
  for (size_t i = 0; i < dim; ++i) {
    const float gradient = with_l2(g[i], w[i], c.l2);
    m[i] += (gradient - m[i]) * (1.0f - c.beta_1);
    v[i] += (gradient * gradient - v[i]) * (1.0f - c.beta_2);
    w[i] -= m[i] * rate / (std::sqrt(v[i]) + c.epsilon);
  }
}

FRESHET_INLINE bool finite(const float* values, size_t n) {
  uint32_t bad = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint32_t exponent = std::bit_cast<uint32_t>(values[i]) & 0x7f800000u;
    bad |= static_cast<uint32_t>(exponent == 0x7f800000u);
  }
  return bad == 0;
}

FRESHET_AVX2 void sgd_avx2(const OptimizerConstants& c, size_t dim, float* w, const float* g) {
  sgd(c, dim, w, g);
}
FRESHET_AVX2 void adagrad_avx2(const OptimizerConstants& c, size_t dim, float* w, float* sum,
                               const float* g) {
  adagrad(c, dim, w, sum, g);
}
FRESHET_AVX2 void adam_avx2(const OptimizerConstants& c, float rate, size_t dim, float* w, float* m, float* v,
                            const float* g) {
  adam(c, rate, dim, w, m, v, g);
}
FRESHET_AVX2 bool finite_avx2(const float* values, size_t n) { return finite(values, n); }

// In double, as it is done once per step number.
float bias_corrected_rate(const OptimizerConstants& c, double steps) {
  const double first = 1.0 - std::pow(static_cast<double>(c.beta_1), steps);
  const double second = 1.0 - std::pow(static_cast<double>(c.beta_2), steps);
  return static_cast<float>(static_cast<double>(c.learning_rate) * std::sqrt(second) / first);
}

}  // namespace

Optimizer::Optimizer(OptimizerKind kind, const OptimizerConstants& constants, size_t dim, bool portable)
    : kind_(kind), constants_(constants), dim_(dim), avx2_(!portable && has_avx2()) {
  if (kind != OptimizerKind::kAdam) return;
  adam_rates_.resize(kPrecomputedRates);
  for (size_t s = 0; s < kPrecomputedRates; ++s) {
    adam_rates_[s] = bias_corrected_rate(constants_, static_cast<double>(s + 1));
  }
}

size_t Optimizer::state_floats() const {
  switch (kind_) {
    case OptimizerKind::kAdagrad:
      return dim_;
    case OptimizerKind::kAdam:
      return 2 * dim_ + 1;
    default:
      return 0;
  }
}

void Optimizer::initialize_state(float* state) const {
  const float value = kind_ == OptimizerKind::kAdagrad ? constants_.initial_accumulator : 0.0f;
  std::fill_n(state, state_floats(), value);
}

void Optimizer::step(float* row, const float* gradient) const {
  float* const state = row + dim_;
  switch (kind_) {
    case OptimizerKind::kNone:
      return;
    case OptimizerKind::kSgd:
      (avx2_ ? sgd_avx2 : sgd)(constants_, dim_, row, gradient);
      return;
    case OptimizerKind::kAdagrad:
      (avx2_ ? adagrad_avx2 : adagrad)(constants_, dim_, row, state, gradient);
      return;
    case OptimizerKind::kAdam: {
      float& steps = state[2 * dim_];
      steps += 1.0f;  // stays at 2^24, where the correction is long 1
      (avx2_ ? adam_avx2 : adam)(constants_, adam_rate(steps), dim_, row, state, state + dim_, gradient);
      return;
    }
  }
}

float Optimizer::adam_rate(float steps) const {
  if (steps >= 1.0f && steps <= static_cast<float>(kPrecomputedRates)) {
    return adam_rates_[static_cast<size_t>(steps) - 1];
  }
  return bias_corrected_rate(constants_, static_cast<double>(steps));
}

bool all_finite(const float* values, size_t n) {
  static const bool avx2 = has_avx2();
  return avx2 ? finite_avx2(values, n) : finite(values, n);
}

}  // namespace freshet
