// How an embedding is stored: as float32, or narrower in tables that only serve.
#pragma once

#include <cstddef>

namespace freshet {

enum class RowFormat { kFloat32, kFloat16, kInt8 };

// Rounds to nearest, ties to even; the same bits with AVX2 and F16C and without.
//   float16: beyond ±65,504 it becomes that.
//   int8: a float32 scale, the largest magnitude / 127, then integers from -127 to 127. Reading gives
//   integer × scale: off by at most the largest / 254 (and 2^-14 of that). Rows whose scale would not be a
//   normal float read as 0.
// What was read and is written again is the same bits.
class RowCodec {
 public:
  // `floats`: of a row; only float32 has room for optimizer state.
  RowCodec(RowFormat format, size_t floats, bool portable = false);

  size_t floats() const { return floats_; }
  // A multiple of 4.
  size_t row_bytes() const;
  bool is_float32() const { return format_ == RowFormat::kFloat32; }
  void read(const std::byte* row, float* out) const;
  void write(std::byte* row, const float* in) const;

 private:
  RowFormat format_;
  size_t floats_;
  bool avx2_;
};

}  // namespace freshet
