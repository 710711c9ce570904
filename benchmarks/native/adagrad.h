// The step that every peer takes: the formula of ours, with dimension and constants known to the compiler.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "contender.h"

namespace freshet::bench {

using Row = std::array<float, kRowFloats>;

inline constexpr float kLearningRate = 0.05f;
inline constexpr float kInitialAccumulator = 0.1f;
inline constexpr float kEpsilon = 1e-7f;

inline void initialize(float* row) {
  std::fill_n(row, kDim, 0.0f);
  std::fill_n(row + kDim, kDim, kInitialAccumulator);
}

inline void adagrad(float* __restrict row, const float* __restrict gradient) {
  for (size_t i = 0; i < kDim; ++i) {
    row[kDim + i] += gradient[i] * gradient[i];
    row[i] -= kLearningRate * gradient[i] / std::sqrt(row[kDim + i] + kEpsilon);
  }
}

}  // namespace freshet::bench
