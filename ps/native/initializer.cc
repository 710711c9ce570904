#include "initializer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "exact_math.h"
#include "hash.h"
#include "vectorise.h"

namespace freshet {
namespace {

// The standard normal distribution function at -2: where Keras cuts its truncated normal.
constexpr double kBelowMinusTwo = 0.022750131948179195;

constexpr size_t kChunk = 16;

// 32 random bits for each of the values from `start`: a counter, mixed, makes two.
FRESHET_INLINE void random_bits(uint64_t stream, size_t start, uint32_t (&bits)[kChunk]) {
  uint64_t pairs[kChunk / 2];
  for (size_t i = 0; i < kChunk / 2; ++i) pairs[i] = mix(stream + kGolden * (start / 2 + i + 1), 0);
  std::memcpy(bits, pairs, sizeof(bits));
}

template <class Transform>
FRESHET_INLINE void fill_with(uint64_t stream, size_t dim, float* out, Transform transform) {
  uint32_t bits[kChunk];
  for (size_t start = 0; start < dim; start += kChunk) {
    random_bits(stream, start, bits);
    for (size_t i = 0; i < std::min(kChunk, dim - start); ++i) out[start + i] = transform(bits[i]);
  }
}

// Rows at once: their chains of multiplications overlap.
constexpr size_t kMany = 32;

// One loop for the bits and one for the floats, through memory: in one, GCC takes a vector apart to build it
// anew.
FRESHET_INLINE void uniform(const uint64_t* streams, const uint32_t* positions, size_t n, size_t dim,
                            float step, float* out) {
  uint32_t bits[kMany][kChunk];
  for (size_t start = 0; start < dim; start += kChunk) {
    for (size_t r = 0; r < n; ++r) random_bits(streams[r], start, bits[r]);
    for (size_t r = 0; r < n; ++r) {
      float* const to = out + positions[r] * dim + start;
      const auto value = [&](size_t i) {
        return static_cast<float>(static_cast<int32_t>(bits[r][i])) * step;
      };
      if (dim - start >= kChunk) {
        for (size_t i = 0; i < kChunk; ++i) to[i] = value(i);
      } else {
        for (size_t i = 0; i < dim - start; ++i) to[i] = value(i);
      }
    }
  }
}
FRESHET_AVX2 void uniform_avx2(const uint64_t* streams, const uint32_t* positions, size_t n, size_t dim,
                               float step, float* out) {
  uniform(streams, positions, n, dim, step, out);
}
FRESHET_AVX512 void uniform_avx512(const uint64_t* streams, const uint32_t* positions, size_t n, size_t dim,
                                   float step, float* out) {
  uniform(streams, positions, n, dim, step, out);
}

double open_unit(uint32_t bits) { return (static_cast<double>(bits) + 0.5) * 0x1p-32; }

}  // namespace

double normal_quantile(double p) {
  static constexpr double kA[] = {
      3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
      4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4, 2.5090809287301226727e+3};
  static constexpr double kB[] = {1.0,
                                  4.2313330701600911252e+1,
                                  6.8718700749205790830e+2,
                                  5.3941960214247511077e+3,
                                  2.1213794301586595867e+4,
                                  3.9307895800092710610e+4,
                                  2.8729085735721942674e+4,
                                  5.2264952788528545610e+3};
  static constexpr double kC[] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                  5.76949722146069140550e0,  3.64784832476320460504e0,
                                  1.27045825245236838258e0,  2.41780725177450611770e-1,
                                  2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static constexpr double kD[] = {1.0,
                                  2.05319162663775882187e0,
                                  1.67638483018380384940e0,
                                  6.89767334985100004550e-1,
                                  1.48103976427480074590e-1,
                                  1.51986665636164571966e-2,
                                  5.47593808499534494600e-4,
                                  1.05075007164441684324e-9};
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kA, r) / polynomial(kB, r);
  }
  const double r = std::sqrt(-exact_log(q < 0 ? p : 1.0 - p)) - 1.6;
  const double magnitude = polynomial(kC, r) / polynomial(kD, r);
  return q < 0 ? -magnitude : magnitude;
}

Initializer::Initializer(InitializerKind kind, float scale, uint64_t seed, size_t dim, bool portable)
    : kind_(kind),
      scale_(scale),
      seed_(mix(seed, kGolden)),
      dim_(dim),
      avx2_(!portable && has_avx2()),
      avx512_(!portable && has_avx512()) {}

void Initializer::fill(const int64_t* ids, std::span<const uint32_t> positions, float* out) const {
  if (!takes_many()) {
    for (const uint32_t p : positions) fill(ids[p], out + p * dim_);
    return;
  }
  const auto fill_some = avx512_ ? uniform_avx512 : avx2_ ? uniform_avx2 : uniform;
  uint64_t streams[kMany];
  for (; !positions.empty(); positions = positions.subspan(std::min(kMany, positions.size()))) {
    const size_t n = std::min(kMany, positions.size());
    for (size_t r = 0; r < n; ++r) streams[r] = mix(static_cast<uint64_t>(ids[positions[r]]), seed_);
    fill_some(streams, positions.data(), n, dim_, scale_ * 0x1p-31f, out);
  }
}

void Initializer::fill(int64_t id, float* out) const {
  const uint64_t stream = mix(static_cast<uint64_t>(id), seed_);
  const double scale = scale_;
  switch (kind_) {
    case InitializerKind::kZeros:
      std::fill_n(out, dim_, 0.0f);
      return;
    case InitializerKind::kConstant:
      std::fill_n(out, dim_, scale_);
      return;
    case InitializerKind::kUniform:
      fill(&id, std::array{uint32_t{0}}, out);
      return;
    case InitializerKind::kNormal:
      fill_with(stream, dim_, out, [scale](uint32_t bits) {
        return static_cast<float>(normal_quantile(open_unit(bits)) * scale);
      });
      return;
    case InitializerKind::kTruncatedNormal:
      fill_with(stream, dim_, out, [scale](uint32_t bits) {
        const double p = kBelowMinusTwo + open_unit(bits) * (1.0 - 2.0 * kBelowMinusTwo);
        return static_cast<float>(normal_quantile(p) * scale);
      });
      return;
  }
}

}  // namespace freshet
