// What a table does with gradients that are NaN, infinite or beyond kMaxGradient.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "batch.h"
#include "optimizer_constants.h"

namespace freshet {

// Refuses the batch, leaves the row out, or clamps it (NaN becomes 0) and lets it learn. Skipping and
// clipping judge the sum of a row's gradients. Thread-safe.
class GradientPolicy {
 public:
  GradientPolicy(BadGradients bad, size_t dim) : bad_(bad), dim_(dim) {}

  // `gradients` are the `n` that were added up in `sums` for `probes`. Throws std::invalid_argument when it
  // refuses.
  void apply(const float* gradients, size_t n, SummedGradients& sums, Probes& probes);

  // Rows so far, one for each batch that had a bad gradient for them.
  uint64_t skipped_rows() const { return skipped_rows_.load(std::memory_order_relaxed); }
  uint64_t clipped_rows() const { return clipped_rows_.load(std::memory_order_relaxed); }

 private:
  void clip(float* sum);

  BadGradients bad_;
  size_t dim_;
  std::atomic<uint64_t> skipped_rows_ = 0;
  std::atomic<uint64_t> clipped_rows_ = 0;
};

}  // namespace freshet
