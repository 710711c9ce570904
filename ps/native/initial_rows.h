// The initial rows of ids that a block of a batch brings in.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "batch.h"
#include "initializer.h"
#include "pipeline.h"

namespace freshet {

// Computes them for all absent ids of a block together, which costs half as much as one by one. Of one
// thread.
class InitialRows {
 public:
  InitialRows(const Initializer& initializer, size_t dim) : initializer_(initializer), dim_(dim) {}

  // A block whose `rows` are kNoRow where an id was not found. Throws std::bad_alloc.
  void begin_block(const int64_t* ids, std::span<const Probe> block, const uint32_t* rows) {
    next_ = 0;
    // Counted first, in vectors: most blocks have none.
    if (std::count(rows, rows + block.size(), kNoRow) == 0) return;
    rows_.resize(kMostVisited * dim_);
    std::array<int64_t, kMostVisited> absent;
    uint32_t absents = 0;
    for (size_t i = 0; i < block.size(); ++i) {
      absent[absents] = ids[block[i].position];
      absents += rows[i] == kNoRow;
    }
    std::array<uint32_t, kMostVisited> places;
    std::iota(places.begin(), places.end(), 0u);
    initializer_.fill(absent.data(), std::span(places).first(absents), rows_.data());
  }
  // The embedding, `dim` floats, of the block's first id that was not found, then of the second, and so on.
  const float* next() { return rows_.data() + dim_ * next_++; }

 private:
  const Initializer& initializer_;
  size_t dim_;
  size_t next_ = 0;
  std::vector<float> rows_;
};

}  // namespace freshet
