// One step of an optimizer on one row, fused: gradient in, embedding and state changed in place.
#pragma once

#include <cstddef>
#include <vector>

namespace freshet {

enum class OptimizerKind { kNone, kSgd, kAdagrad, kAdam };

// Constants as in Keras.
struct OptimizerConstants {
  float learning_rate = 0.0f;
  float initial_accumulator = 0.0f;
  float beta_1 = 0.0f;
  float beta_2 = 0.0f;
  float epsilon = 0.0f;
  float l2 = 0.0f;
};

// A row is the embedding, then the state: nothing (none, SGD), accumulators (Adagrad), or both moments and
// the number of steps of this row (Adam). AVX2 where the processor has it; the results are the same bits
// without.
class Optimizer {
 public:
  Optimizer(OptimizerKind kind, const OptimizerConstants& constants, size_t dim, bool portable = false);

  OptimizerKind kind() const { return kind_; }
  size_t state_floats() const;
  void initialize_state(float* state) const;
  // Changes `row`, the embedding followed by its state, by one `gradient` of `dim` floats.
  void step(float* row, const float* gradient) const;

 private:
  float adam_rate(float steps) const;

  OptimizerKind kind_;
  OptimizerConstants constants_;
  size_t dim_;
  bool avx2_;
  std::vector<float> adam_rates_;  // bias-corrected learning rate of step 1, 2, …
};

// Whether all are neither NaN nor infinite.
bool all_finite(const float* values, size_t n);

}  // namespace freshet
