#include "row_codec.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "vectorise.h"

namespace freshet {
namespace {

constexpr float kLargestHalf = 65504.0f;
constexpr float kSteps = 127.0f;
constexpr float kLargestScale = 0x1.020406p121f;  // 127 of it are finite
// Added to a float of at most 2^22 it leaves the nearest integer in the low bits, ties to even.
constexpr float kRounder = 0x1.8p23f;

uint16_t to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(std::clamp(value, -kLargestHalf, kLargestHalf));
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude < 0x38800000) {  // below 2^-14 halves are multiples of 2^-24: adding 0.5 rounds to one
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t odd = magnitude >> 13 & 1;
  return static_cast<uint16_t>(sign | (magnitude - 0x38000000 + 0x0fff + odd) >> 13);
}

float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7fff;
  const uint32_t bits = magnitude < 0x0400 ? std::bit_cast<uint32_t>(static_cast<float>(magnitude) * 0x1p-24f)
                                           : (magnitude << 13) + 0x38000000;
  return std::bit_cast<float>(bits | sign);
}

void read_halves(const std::byte* row, size_t n, float* out) {
  uint16_t half;
  for (size_t i = 0; i < n; ++i) {
    std::memcpy(&half, row + i * sizeof(half), sizeof(half));
    out[i] = from_half(half);
  }
}

void write_halves(std::byte* row, size_t n, const float* in) {
  for (size_t i = 0; i < n; ++i) {
    const uint16_t half = to_half(in[i]);
    std::memcpy(row + i * sizeof(half), &half, sizeof(half));
  }
}

#if defined(__x86_64__)
constexpr size_t kLanes = 8;

FRESHET_F16C void read_halves_f16c(const std::byte* row, size_t n, float* out) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto* halves = reinterpret_cast<const __m128i*>(row + i * sizeof(uint16_t));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(halves)));
  }
  read_halves(row + i * sizeof(uint16_t), n - i, out + i);
}

FRESHET_F16C void write_halves_f16c(std::byte* row, size_t n, const float* in) {
  const __m256 most = _mm256_set1_ps(kLargestHalf), least = _mm256_set1_ps(-kLargestHalf);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256 clamped = _mm256_max_ps(_mm256_min_ps(_mm256_loadu_ps(in + i), most), least);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row + i * sizeof(uint16_t)),
                     _mm256_cvtps_ph(clamped, _MM_FROUND_TO_NEAREST_INT));
  }
  write_halves(row + i * sizeof(uint16_t), n - i, in + i);
}
#else
constexpr auto read_halves_f16c = read_halves;
constexpr auto write_halves_f16c = write_halves;
#endif

FRESHET_INLINE float largest_magnitude(const float* values, size_t n) {
  uint32_t largest = 0;  // of floats without a sign, the order of the bits is that of the values
  for (size_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(values[i]) & 0x7fffffff);
  }
  return std::bit_cast<float>(largest);
}

FRESHET_INLINE void read_int8(const std::byte* row, size_t n, float* __restrict out) {
  float scale;
  std::memcpy(&scale, row, sizeof(scale));
  const auto* steps = reinterpret_cast<const int8_t*>(row + sizeof(scale));
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(steps[i]) * scale;
}

FRESHET_INLINE void write_int8(std::byte* row, size_t n, const float* __restrict in) {
  float scale = std::min(largest_magnitude(in, n) / kSteps, kLargestScale);
  if (scale < std::numeric_limits<float>::min()) scale = 0.0f;
  std::memcpy(row, &scale, sizeof(scale));
  auto* steps = reinterpret_cast<int8_t*>(row + sizeof(scale));
  if (scale == 0.0f) {
    std::fill_n(steps, n, int8_t{0});
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    steps[i] = static_cast<int8_t>(std::bit_cast<uint32_t>(in[i] / scale + kRounder));
  }
}

FRESHET_AVX2 void read_int8_avx2(const std::byte* row, size_t n, float* out) { read_int8(row, n, out); }
FRESHET_AVX2 void write_int8_avx2(std::byte* row, size_t n, const float* in) { write_int8(row, n, in); }

}  // namespace

RowCodec::RowCodec(RowFormat format, size_t floats, bool portable)
    : format_(format), floats_(floats), avx2_(!portable && has_avx2() && has_f16c()) {}

size_t RowCodec::row_bytes() const {
  switch (format_) {
    case RowFormat::kFloat16:
      return (floats_ * sizeof(uint16_t) + 3) / 4 * 4;
    case RowFormat::kInt8:
      return (sizeof(float) + floats_ + 3) / 4 * 4;
    default:
      return floats_ * sizeof(float);
  }
}

void RowCodec::read(const std::byte* row, float* out) const {
  switch (format_) {
    case RowFormat::kFloat32:
      std::memcpy(out, row, floats_ * sizeof(float));
      return;
    case RowFormat::kFloat16:
      (avx2_ ? read_halves_f16c : read_halves)(row, floats_, out);
      return;
    case RowFormat::kInt8:
      (avx2_ ? read_int8_avx2 : read_int8)(row, floats_, out);
      return;
  }
}

void RowCodec::write(std::byte* row, const float* in) const {
  switch (format_) {
    case RowFormat::kFloat32:
      std::memcpy(row, in, floats_ * sizeof(float));
      return;
    case RowFormat::kFloat16:
      (avx2_ ? write_halves_f16c : write_halves)(row, floats_, in);
      return;
    case RowFormat::kInt8:
      (avx2_ ? write_int8_avx2 : write_int8)(row, floats_, in);
      return;
  }
}

}  // namespace freshet
