// The initial rows of a block's ids that were not found.
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

// Those of a block together, where that costs less than one by one (Initializer::takes_many). Some of the ids
// may turn out to be there: then theirs were in vain. Of one thread.
class InitialRows {
 public:
  InitialRows(const Initializer& initializer, size_t dim) : initializer_(initializer), dim_(dim) {}

  // A block whose `rows` are kNoRow where an id was not found. Throws std::bad_alloc.
  void begin_block(const int64_t* ids, std::span<const Probe> block, const uint32_t* rows) {
    // Counted first, in vectors: most blocks have none.
    const auto absents = static_cast<size_t>(std::count(rows, rows + block.size(), kNoRow));
    if (absents == 0) return;
    const bool takes_many = initializer_.takes_many();
    make_room(takes_many ? absents : 1);
    if (!takes_many) return;
    std::array<int64_t, kMostVisited> absent;
    for (size_t i = 0, n = 0; n < absents; ++i) {
      absent[n] = ids[block[i].position];
      n += rows[i] == kNoRow;
    }
    std::array<uint32_t, kMostVisited> places;
    std::iota(places.begin(), places.end(), 0u);
    initializer_.fill(absent.data(), std::span(places).first(absents), rows_.data());
  }
  // The embedding, `dim` floats, of `id`, the block's `nth` that was not found.
  const float* of(size_t nth, int64_t id) {
    if (initializer_.takes_many()) return rows_.data() + nth * dim_;
    initializer_.fill(id, rows_.data());
    return rows_.data();
  }

 private:
  void make_room(size_t rows) {
    if (rows_.size() < rows * dim_) rows_.resize(rows * dim_);
  }

  const Initializer& initializer_;
  size_t dim_;
  std::vector<float> rows_;
};

}  // namespace freshet
