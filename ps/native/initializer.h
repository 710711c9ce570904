// The initial value of a row: a pure function of (table seed, id), the same bits on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace freshet {

enum class InitializerKind { kZeros, kConstant, kUniform, kNormal, kTruncatedNormal };

// Only IEEE operations that are exact everywhere: no function of the C library, no fused multiply-add.
class Initializer {
 public:
  // `scale`: the constant, the half width or the deviation.
  Initializer(InitializerKind kind, float scale, uint64_t seed, size_t dim, bool portable = false);

  // Whether several at once cost half as much.
  bool takes_many() const { return kind_ == InitializerKind::kUniform; }
  // Writes `dim` floats.
  void fill(int64_t id, float* out) const;
  // Writes the row of `ids[p]` to `out` + p * dim for each p of `positions`.
  void fill(const int64_t* ids, std::span<const uint32_t> positions, float* out) const;

 private:
  InitializerKind kind_;
  float scale_;
  uint64_t seed_;
  size_t dim_;
  bool avx2_;
  bool avx512_;
};

// The quantile of the standard normal distribution (Wichura, AS 241) for 2^-33 <= p <= 1 - 2^-33.
double normal_quantile(double p);

}  // namespace freshet
