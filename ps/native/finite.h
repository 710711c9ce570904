// Whether numbers are such that arithmetic on them stays finite.
#pragma once

#include <cstddef>

namespace freshet {

// A larger gradient is bad: its square, also after adding up repeats, must stay a finite float. As
// MAX_GRADIENT of ps/push.py.
inline constexpr float kMaxGradient = 1e12f;

// Whether all are neither NaN nor infinite.
bool all_finite(const float* values, size_t n);

// Whether none is NaN, infinite or beyond kMaxGradient.
bool all_sane(const float* gradients, size_t n);

}  // namespace freshet
