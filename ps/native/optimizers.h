// One step of an optimizer on one row, fused: gradient in, embedding and state changed in place.
#pragma once

#include <cstddef>
#include <vector>

#include "optimizer_constants.h"
#include "optimizer_kernels.h"

namespace freshet {

// A row is the embedding, then the state (STATE of ps/settings.py says what). AVX2 where the processor has
// it; the results are the same bits without.
class Optimizer {
 public:
  Optimizer(OptimizerKind kind, const OptimizerConstants& constants, size_t dim, bool portable = false);

  size_t state_floats() const;
  // Writes a new row: its `embedding`, then its state.
  void begin(float* row, const float* embedding) const { begin_kernel_(row, embedding, dim_, new_state_); }
  void initialize_state(float* state) const { begin_kernel_(state, nullptr, 0, new_state_); }

 private:
  friend class OptimizerBatch;

  bool is_adam() const { return kind_ == OptimizerKind::kAdam || kind_ == OptimizerKind::kAdamW; }
  double bias_correction(float steps) const;
  // The first floats of a state, which begin with initial_accumulator; the others begin with 0.
  size_t accumulators() const;

  OptimizerKind kind_;
  OptimizerConstants constants_;
  size_t dim_;
  NewState new_state_;
  BeginKernel begin_kernel_;
  StepKernel step_kernel_;
  GradientKernel gradient_kernel_;
  std::vector<double> bias_corrections_;  // of Adam's step 1, 2, …
};

// The steps of one batch: an optimizer at one learning rate, and room to work in. Of one thread.
class OptimizerBatch {
 public:
  OptimizerBatch(const Optimizer& optimizer, float learning_rate);

  // Changes `row`, the embedding followed by its state, by one `gradient` of `dim` floats.
  void step(float* row, const float* gradient) {
    if (is_plain_) {
      take_step(scalars_, row, gradient);
    } else {
      adjust_and_step(row, gradient);
    }
  }

 private:
  void take_step(StepScalars scalars, float* row, const float* gradient) const {
    const Optimizer& o = optimizer_;
    o.step_kernel_(o.constants_, scalars, o.dim_, row, row + o.dim_, gradient);
  }
  void adjust_and_step(float* row, const float* gradient);
  float count_step(float& steps) const;

  const Optimizer& optimizer_;
  StepScalars scalars_;
  bool is_plain_;                // the formula takes the caller's gradient, and the same scalars for each row
  std::vector<float> gradient_;  // as the formula takes it
};

}  // namespace freshet
