// Sums over a row in an order that eight lanes of AVX2 and portable code share, so that both round alike.
#pragma once

#include <cstddef>

#include "vectorise.h"

namespace freshet {

FRESHET_INLINE float sum_of_squares(const float* values, size_t n) {
  constexpr size_t kLanes = 8;
  float lanes[kLanes] = {};
  size_t start = 0;
  for (; start + kLanes <= n; start += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) lanes[l] += values[start + l] * values[start + l];
  }
  for (size_t l = 0; start + l < n; ++l) lanes[l] += values[start + l] * values[start + l];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

}  // namespace freshet
