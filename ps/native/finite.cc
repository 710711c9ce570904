#include "finite.h"

#include <bit>
#include <cstdint>
#include <limits>

#include "vectorise.h"

namespace freshet {
namespace {

// Without their signs, the bits of floats are ordered as the floats are, and NaNs are beyond them all.
FRESHET_INLINE bool all_within(const float* values, size_t n, float most) {
  const uint32_t most_bits = std::bit_cast<uint32_t>(most);
  uint32_t bad = 0;
  for (size_t i = 0; i < n; ++i) {
    bad |= static_cast<uint32_t>((std::bit_cast<uint32_t>(values[i]) & 0x7fffffffu) > most_bits);
  }
  return bad == 0;
}
FRESHET_AVX2 bool all_within_avx2(const float* values, size_t n, float most) {
  return all_within(values, n, most);
}

bool check(const float* values, size_t n, float most) {
  static const bool avx2 = has_avx2();
  return avx2 ? all_within_avx2(values, n, most) : all_within(values, n, most);
}

}  // namespace

bool all_finite(const float* values, size_t n) { return check(values, n, std::numeric_limits<float>::max()); }

bool all_sane(const float* gradients, size_t n) { return check(gradients, n, kMaxGradient); }

}  // namespace freshet
