// The formulas of the optimizers: loops over one row, each compiled twice.
#pragma once

#include <cstddef>

#include "optimizer_constants.h"

namespace freshet {

// What the formulas take beside the row and its gradient. Of one batch, but for `rate` of Adam.
struct StepScalars {
  float rate;   // the learning rate; Adam's is corrected for the bias of the row's moments
  float decay;  // AdamW: the share of a weight that goes with each step
};

// Changes an embedding of `dim` floats and the state behind it by one gradient.
using StepKernel = void (*)(const OptimizerConstants& constants, StepScalars scalars, size_t dim,
                            float* weights, float* state, const float* gradient);

// The state of a new row: so many floats of one value, then zeros.
struct NewState {
  float accumulator;
  size_t accumulators;
  size_t zeros;
};

// Writes a new row, `dim` floats of an embedding and its state. Of 16 floats with as many accumulators as
// wide as a step loads them: a load that several stores make up waits until these are in the cache, which a
// new row is not.
using BeginKernel = void (*)(float* row, const float* embedding, size_t dim, NewState state);

BeginKernel begin_kernel(bool avx2);

// Null for kNone.
StepKernel step_kernel(OptimizerKind kind, const OptimizerConstants& constants, bool avx2);

// Writes the gradient that the formula is given to `out`: with the penalties' part, then clipped.
using GradientKernel = void (*)(const OptimizerConstants& constants, size_t dim, const float* weights,
                                const float* gradient, float* out);

// Null when gradients stay as they are.
GradientKernel gradient_kernel(OptimizerKind kind, const OptimizerConstants& constants, bool avx2);

}  // namespace freshet
