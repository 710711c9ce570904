// Functions that give the same bits on every machine, which those of the C library do not promise: only IEEE
// operations that are exact everywhere, no fused multiply-add.
#pragma once

#include <cstddef>
#include <cstdint>

namespace freshet {

template <size_t N>
double polynomial(const double (&coefficients)[N], double x) {
  double sum = coefficients[N - 1];
  for (size_t i = N - 1; i-- > 0;) sum = sum * x + coefficients[i];
  return sum;
}

// For positive normal x; within 1e-15 of the logarithm, relative for x away from 1.
double exact_log(double x);

// For |x| <= 700; relative error below 1e-15.
double exact_exp(double x);

// x to the power of 0 <= p <= 1, for a float x >= 0, rounded to a float.
float exact_power(float x, double p);

// base to the power of n, by squaring.
double exact_integer_power(double base, uint64_t n);

}  // namespace freshet
