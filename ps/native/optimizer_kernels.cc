#include "optimizer_kernels.h"

#include <algorithm>
#include <cmath>

#include "exact_math.h"
#include "lanes.h"
#include "vectorise.h"

namespace freshet {
namespace {

using Constants = OptimizerConstants;

// By value: the references of std::min and std::max keep loops from being vectorised.
FRESHET_INLINE float clamp(float x, float bound) {
  const float above = x < -bound ? -bound : x;
  return above > bound ? bound : above;
}

struct Sgd {
  static FRESHET_INLINE void step(const Constants&, StepScalars s, size_t dim, float* __restrict w, float*,
                                  const float* __restrict g) {
    for (size_t i = 0; i < dim; ++i) w[i] -= s.rate * g[i];
  }
};

template <bool kNesterov>
struct Momentum {
  static FRESHET_INLINE void step(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                  float* __restrict momentum, const float* __restrict g) {
    for (size_t i = 0; i < dim; ++i) {
      const float change = s.rate * g[i];
      momentum[i] = momentum[i] * c.momentum - change;
      w[i] += kNesterov ? momentum[i] * c.momentum - change : momentum[i];
    }
  }
};

struct Adagrad {
  static FRESHET_INLINE void step(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                  float* __restrict sum, const float* __restrict g) {
    for (size_t i = 0; i < dim; ++i) {
      sum[i] += g[i] * g[i];
      w[i] -= s.rate * g[i] / std::sqrt(sum[i] + c.epsilon);
    }
  }
};

// One accumulator for the row, of the mean square of its gradient (FBGEMM's exact row-wise Adagrad), with
// epsilon where Keras has it.
struct RowwiseAdagrad {
  static FRESHET_INLINE void step(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                  float* __restrict sum, const float* __restrict g) {
    *sum += sum_of_squares(g, dim) / static_cast<float>(dim);
    const float root = std::sqrt(*sum + c.epsilon);
    for (size_t i = 0; i < dim; ++i) w[i] -= s.rate * g[i] / root;
  }
};

template <bool kDecays>
struct Adam {
  static FRESHET_INLINE void step(const Constants& c, StepScalars s, size_t dim, float* w, float* moments,
                                  const float* g) {
    step_moments(c, s, dim, w, moments, moments + dim, g);
  }

 private:
  static FRESHET_INLINE void step_moments(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                          float* __restrict m, float* __restrict v,
                                          const float* __restrict g) {
    for (size_t i = 0; i < dim; ++i) {
      m[i] += (g[i] - m[i]) * (1.0f - c.beta_1);
      v[i] += (g[i] * g[i] - v[i]) * (1.0f - c.beta_2);
      const float kept = kDecays ? w[i] - w[i] * s.decay : w[i];
      w[i] = kept - m[i] * s.rate / (std::sqrt(v[i]) + c.epsilon);
    }
  }
};

struct RmsProp {
  static FRESHET_INLINE void step(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                  float* __restrict velocity, const float* __restrict g) {
    for (size_t i = 0; i < dim; ++i) {
      velocity[i] = c.rho * velocity[i] + (1.0f - c.rho) * (g[i] * g[i]);
      w[i] -= s.rate * g[i] / std::sqrt(velocity[i] + c.epsilon);
    }
  }
};

struct Adadelta {
  static FRESHET_INLINE void step(const Constants& c, StepScalars s, size_t dim, float* w, float* state,
                                  const float* g) {
    step_averages(c, s, dim, w, state, state + dim, g);
  }

 private:
  static FRESHET_INLINE void step_averages(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                           float* __restrict of_grads, float* __restrict of_deltas,
                                           const float* __restrict g) {
    for (size_t i = 0; i < dim; ++i) {
      of_grads[i] = c.rho * of_grads[i] + (1.0f - c.rho) * (g[i] * g[i]);
      const float delta = std::sqrt(of_deltas[i] + c.epsilon) * g[i] / std::sqrt(of_grads[i] + c.epsilon);
      of_deltas[i] = c.rho * of_deltas[i] + (1.0f - c.rho) * (delta * delta);
      w[i] -= s.rate * delta;
    }
  }
};

// FTRL-Proximal (McMahan et al., Ad Click Prediction, KDD 2013), as Keras writes it. kGroup: and the group
// lasso over the row (Ni et al., CIKM 2019, with the sparse group's closed form of Yue et al., ECML 2021).
template <bool kSquareRoot, bool kGroup>
struct Ftrl {
  static FRESHET_INLINE void step(const Constants& c, StepScalars s, size_t dim, float* w, float* state,
                                  const float* g) {
    accumulate(c, s, dim, w, state, state + dim, g);
    const float share = kGroup ? group_share(c, dim, w) : 1.0f;
    divide(c, s, dim, w, state, share);
  }

 private:
  static FRESHET_INLINE float power(const Constants& c, float n) {
    return kSquareRoot ? std::sqrt(n) : exact_power(n, -static_cast<double>(c.learning_rate_power));
  }

  // Leaves in `w` the linear term with the sign turned, beyond what L1 takes away.
  static FRESHET_INLINE void accumulate(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                        float* __restrict n, float* __restrict linear,
                                        const float* __restrict g) {
    for (size_t i = 0; i < dim; ++i) {
      const float sum = n[i] + g[i] * g[i];
      const float shrunk = g[i] + 2.0f * c.l2_shrinkage * w[i];
      linear[i] += shrunk - (power(c, sum) - power(c, n[i])) / s.rate * w[i];
      n[i] = sum;
      w[i] = clamp(linear[i], c.l1) - linear[i];
    }
  }

  static FRESHET_INLINE float group_share(const Constants& c, size_t dim, const float* w) {
    const float norm = std::sqrt(sum_of_squares(w, dim));
    const float bound = c.l21 * std::sqrt(static_cast<float>(dim));
    return norm > bound ? 1.0f - bound / norm : 0.0f;
  }

  static FRESHET_INLINE void divide(const Constants& c, StepScalars s, size_t dim, float* __restrict w,
                                    const float* __restrict n, float share) {
    const float l2 = 2.0f * (c.l2 + c.beta / (2.0f * s.rate));
    for (size_t i = 0; i < dim; ++i) {
      const float quadratic = power(c, n[i]) / s.rate + l2;
      // Nothing has been seen and nothing pulls: 0 / 0 in Keras. Selecting both sides keeps it free of
      // branches.
      const bool pulled = quadratic > 0.0f;
      w[i] = (pulled ? share * w[i] : 0.0f) / (pulled ? quadratic : 1.0f);
    }
  }
};

FRESHET_INLINE void begin_loop(float* __restrict row, const float* __restrict embedding, size_t dim,
                               NewState s) {
  for (size_t i = 0; i < dim; ++i) row[i] = embedding[i];
  float* const state = row + dim;
  for (size_t i = 0; i < s.accumulators; ++i) state[i] = s.accumulator;
  for (size_t i = 0; i < s.zeros; ++i) state[s.accumulators + i] = 0.0f;
}
// The usual row once more, unrolled. Of the others GCC makes calls of memmove and memset.
FRESHET_INLINE void begin_body(float* row, const float* embedding, size_t dim, NewState s) {
  if (dim == 16 && s.accumulators == 16 && s.zeros == 0) {
    begin_loop(row, embedding, 16, {s.accumulator, 16, 0});
  } else {
    begin_loop(row, embedding, dim, s);
  }
}
void begin_portable(float* row, const float* embedding, size_t dim, NewState s) {
  begin_body(row, embedding, dim, s);
}
FRESHET_AVX2 void begin_avx2(float* row, const float* embedding, size_t dim, NewState s) {
  begin_body(row, embedding, dim, s);
}

// The usual width once more, unrolled.
template <class Rule>
FRESHET_INLINE void step_body(const Constants& c, StepScalars s, size_t dim, float* w, float* state,
                              const float* g) {
  if (dim == 16) {
    Rule::step(c, s, 16, w, state, g);
  } else {
    Rule::step(c, s, dim, w, state, g);
  }
}
template <class Rule>
void step_portable(const Constants& c, StepScalars s, size_t dim, float* w, float* state, const float* g) {
  step_body<Rule>(c, s, dim, w, state, g);
}
template <class Rule>
FRESHET_AVX2 void step_avx2(const Constants& c, StepScalars s, size_t dim, float* w, float* state,
                            const float* g) {
  step_body<Rule>(c, s, dim, w, state, g);
}
template <class Rule>
StepKernel compiled(bool avx2) {
  return avx2 ? step_avx2<Rule> : step_portable<Rule>;
}

template <bool kGroup>
StepKernel ftrl(const Constants& c, bool avx2) {
  return c.learning_rate_power == -0.5f ? compiled<Ftrl<true, kGroup>>(avx2)
                                        : compiled<Ftrl<false, kGroup>>(avx2);
}

FRESHET_INLINE void penalise(const Constants& c, size_t dim, const float* __restrict w,
                             const float* __restrict g, float* __restrict out) {
  for (size_t i = 0; i < dim; ++i) {
    const float sign = static_cast<float>(w[i] > 0.0f) - static_cast<float>(w[i] < 0.0f);
    out[i] = g[i] + c.l1 * sign + 2.0f * c.l2 * w[i];
  }
}

FRESHET_INLINE void clip(const Constants& c, size_t dim, float* __restrict g) {
  if (c.clipvalue > 0.0f) {
    for (size_t i = 0; i < dim; ++i) g[i] = clamp(g[i], c.clipvalue);
  }
  if (c.clipnorm > 0.0f) {
    const float norm = std::sqrt(sum_of_squares(g, dim));
    const float share = norm > c.clipnorm ? c.clipnorm / norm : 1.0f;
    for (size_t i = 0; i < dim; ++i) g[i] *= share;
  }
}

template <bool kPenalties>
FRESHET_INLINE void gradient_body(const Constants& c, size_t dim, const float* w, const float* g,
                                  float* out) {
  if (kPenalties) {
    penalise(c, dim, w, g, out);
  } else {
    std::copy_n(g, dim, out);
  }
  clip(c, dim, out);
}
template <bool kPenalties>
void gradient_portable(const Constants& c, size_t dim, const float* w, const float* g, float* out) {
  gradient_body<kPenalties>(c, dim, w, g, out);
}
template <bool kPenalties>
FRESHET_AVX2 void gradient_avx2(const Constants& c, size_t dim, const float* w, const float* g, float* out) {
  gradient_body<kPenalties>(c, dim, w, g, out);
}

}  // namespace

BeginKernel begin_kernel(bool avx2) { return avx2 ? begin_avx2 : begin_portable; }

StepKernel step_kernel(OptimizerKind kind, const Constants& c, bool avx2) {
  switch (kind) {
    case OptimizerKind::kNone:
      return nullptr;
    case OptimizerKind::kSgd:
      return compiled<Sgd>(avx2);
    case OptimizerKind::kMomentum:
      return c.nesterov ? compiled<Momentum<true>>(avx2) : compiled<Momentum<false>>(avx2);
    case OptimizerKind::kAdagrad:
      return compiled<Adagrad>(avx2);
    case OptimizerKind::kRowwiseAdagrad:
      return compiled<RowwiseAdagrad>(avx2);
    case OptimizerKind::kAdam:
      return compiled<Adam<false>>(avx2);
    case OptimizerKind::kAdamW:
      return compiled<Adam<true>>(avx2);
    case OptimizerKind::kRmsProp:
      return compiled<RmsProp>(avx2);
    case OptimizerKind::kAdadelta:
      return compiled<Adadelta>(avx2);
    case OptimizerKind::kFtrl:
      return ftrl<false>(c, avx2);
    case OptimizerKind::kGroupFtrl:
      return ftrl<true>(c, avx2);
  }
  return nullptr;
}

GradientKernel gradient_kernel(OptimizerKind kind, const Constants& c, bool avx2) {
  // FTRL has its penalties in its formula.
  const bool is_ftrl = kind == OptimizerKind::kFtrl || kind == OptimizerKind::kGroupFtrl;
  const bool penalties = !is_ftrl && (c.l1 > 0.0f || c.l2 > 0.0f);
  if (penalties) return avx2 ? gradient_avx2<true> : gradient_portable<true>;
  if (c.clipvalue > 0.0f || c.clipnorm > 0.0f) return avx2 ? gradient_avx2<false> : gradient_portable<false>;
  return nullptr;
}

}  // namespace freshet
