#include "optimizers.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "exact_math.h"
#include "vectorise.h"

namespace freshet {
namespace {

constexpr size_t kPrecomputedCorrections = 4096;
constexpr float kMostSteps = 0x1p24f;  // where counting in floats ends, and the correction is long 1

double corrected(const OptimizerConstants& c, uint64_t steps) {
  const double first = 1.0 - exact_integer_power(static_cast<double>(c.beta_1), steps);
  const double second = 1.0 - exact_integer_power(static_cast<double>(c.beta_2), steps);
  return std::sqrt(second) / first;
}

}  // namespace

Optimizer::Optimizer(OptimizerKind kind, const OptimizerConstants& constants, size_t dim, bool portable)
    : kind_(kind),
      constants_(constants),
      dim_(dim),
      new_state_{constants.initial_accumulator, accumulators(), state_floats() - accumulators()},
      begin_kernel_(begin_kernel(!portable && has_avx2())),
      step_kernel_(step_kernel(kind, constants, !portable && has_avx2())),
      gradient_kernel_(gradient_kernel(kind, constants, !portable && has_avx2())) {
  if (!is_adam()) return;
  bias_corrections_.resize(kPrecomputedCorrections);
  for (size_t s = 0; s < kPrecomputedCorrections; ++s) bias_corrections_[s] = corrected(constants_, s + 1);
}

size_t Optimizer::state_floats() const {
  switch (kind_) {
    case OptimizerKind::kNone:
    case OptimizerKind::kSgd:
      return 0;
    case OptimizerKind::kRowwiseAdagrad:
      return 1;
    case OptimizerKind::kMomentum:
    case OptimizerKind::kAdagrad:
    case OptimizerKind::kRmsProp:
      return dim_;
    case OptimizerKind::kAdadelta:
    case OptimizerKind::kFtrl:
    case OptimizerKind::kGroupFtrl:
      return 2 * dim_;
    case OptimizerKind::kAdam:
    case OptimizerKind::kAdamW:
      return 2 * dim_ + 1;
  }
  return 0;
}

size_t Optimizer::accumulators() const {
  switch (kind_) {
    case OptimizerKind::kRowwiseAdagrad:
      return 1;
    case OptimizerKind::kAdagrad:
    case OptimizerKind::kFtrl:
    case OptimizerKind::kGroupFtrl:
      return dim_;
    default:
      return 0;
  }
}

double Optimizer::bias_correction(float steps) const {
  const auto number = static_cast<size_t>(std::clamp(steps, 1.0f, kMostSteps));
  return number <= kPrecomputedCorrections ? bias_corrections_[number - 1] : corrected(constants_, number);
}

OptimizerBatch::OptimizerBatch(const Optimizer& optimizer, float learning_rate)
    : optimizer_(optimizer),
      scalars_{learning_rate, learning_rate * optimizer.constants_.weight_decay},
      is_plain_(!optimizer.gradient_kernel_ && !optimizer.is_adam()),
      gradient_(optimizer.gradient_kernel_ ? optimizer.dim_ : 0) {}

void OptimizerBatch::adjust_and_step(float* row, const float* gradient) {
  const Optimizer& o = optimizer_;
  if (o.gradient_kernel_) {
    o.gradient_kernel_(o.constants_, o.dim_, row, gradient, gradient_.data());
    gradient = gradient_.data();
  }
  StepScalars scalars = scalars_;
  if (o.is_adam()) scalars.rate = count_step(row[3 * o.dim_]);
  take_step(scalars, row, gradient);
}

// Adam's rate for the step that is counted here, in double, as it is done once a row.
float OptimizerBatch::count_step(float& steps) const {
  steps += 1.0f;
  return static_cast<float>(static_cast<double>(scalars_.rate) * optimizer_.bias_correction(steps));
}

}  // namespace freshet
