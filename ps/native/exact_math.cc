#include "exact_math.h"

#include <bit>
#include <cmath>

namespace freshet {
namespace {

constexpr double kLn2 = 0.6931471805599453;
constexpr double kSqrt2 = 1.4142135623730951;
// ln 2 in two parts; a multiple of the first by an integer below 2^11 is exact.
constexpr double kLn2High = 0.693147180369123816490;
constexpr double kLn2Low = 1.90821492927058770002e-10;

}  // namespace

// By the series of atanh.
double exact_log(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  double exponent = static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
  double mantissa = std::bit_cast<double>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (mantissa > kSqrt2) {
    mantissa *= 0.5;
    exponent += 1.0;
  }
  const double t = (mantissa - 1.0) / (mantissa + 1.0);
  static constexpr double kOddReciprocals[] = {1.0,        1.0 / 3.0,  1.0 / 5.0,  1.0 / 7.0,  1.0 / 9.0,
                                               1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0, 1.0 / 17.0, 1.0 / 19.0};
  return exponent * kLn2 + 2.0 * t * polynomial(kOddReciprocals, t * t);
}

// 2^k times the Taylor series of what is left, at most ln 2 / 2.
double exact_exp(double x) {
  const double k = std::floor(x / kLn2 + 0.5);
  const double rest = (x - k * kLn2High) - k * kLn2Low;
  static constexpr double kReciprocalFactorials[] = {1.0,
                                                     1.0,
                                                     1.0 / 2,
                                                     1.0 / 6,
                                                     1.0 / 24,
                                                     1.0 / 120,
                                                     1.0 / 720,
                                                     1.0 / 5040,
                                                     1.0 / 40320,
                                                     1.0 / 362880,
                                                     1.0 / 3628800,
                                                     1.0 / 39916800,
                                                     1.0 / 479001600,
                                                     1.0 / 6227020800,
                                                     1.0 / 87178291200};
  const double power_of_two =
      std::bit_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(k) + 1023) << 52);
  return power_of_two * polynomial(kReciprocalFactorials, rest);
}

float exact_power(float x, double p) {
  if (p == 0.0) return 1.0f;
  if (x == 0.0f) return 0.0f;
  return static_cast<float>(exact_exp(p * exact_log(static_cast<double>(x))));
}

double exact_integer_power(double base, uint64_t n) {
  double product = 1.0;
  for (double square = base; n != 0; n >>= 1, square *= square) {
    if (n & 1) product *= square;
  }
  return product;
}

}  // namespace freshet
