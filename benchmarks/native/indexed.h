// A peer that maps ids to row numbers; the rows are beside it.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "adagrad.h"
#include "contender.h"
#include "huge_pages.h"
#include "prefetch.h"

namespace freshet::bench {

// `Map` is a flat map of int64_t to uint32_t. `kAhead` ids ahead the slot is prefetched, if the map can, then
// the id is searched and its row prefetched; 0: neither.
template <class Map, size_t kAhead>
class Indexed : public Contender {
 public:
  explicit Indexed(size_t most_rows) : rows_(most_rows) {}

  void lookup(const Batch& batch, float* out) override {
    for_each_row<false>(batch, [&](size_t i, const float* row) {
      if (row) {
        std::memcpy(out + i * kDim, row, kDim * sizeof(float));
      } else {
        std::memset(out + i * kDim, 0, kDim * sizeof(float));
      }
    });
  }

  void update(const Batch& batch, const float* gradients) override {
    for_each_row<true>(batch, [&](size_t i, float* row) { adagrad(row, gradients + i * kDim); });
  }

 private:
  template <bool kInsert>
  float* find(int64_t id) {
    if constexpr (kInsert) {
      const auto [at, is_new] = map_.try_emplace(id, static_cast<uint32_t>(map_.size()));
      if (is_new) initialize(rows_[at->second]);
      return rows_[at->second];
    } else {
      const auto at = map_.find(id);
      return at == map_.end() ? nullptr : rows_[at->second];
    }
  }

  void prefetch_slot(int64_t id) const {
    if constexpr (requires { map_.prefetch(id); }) map_.prefetch(id);
  }

  template <bool kInsert, class Visit>
  void for_each_row(const Batch& batch, Visit visit) {
    constexpr size_t kRing = std::max<size_t>(kAhead, 1);
    constexpr size_t kBytes = (kInsert ? kRowFloats : kDim) * sizeof(float);
    std::array<float*, kRing> found;
    const size_t n = batch.ids.size();
    for (size_t i = 0; i < std::min(kAhead, n); ++i) prefetch_slot(batch.ids[i]);
    for (size_t i = 0; i < n + kAhead; ++i) {
      if (kAhead && i >= kAhead) visit(i - kAhead, found[i % kRing]);
      if (i >= n) continue;
      if (kAhead && i + kAhead < n) prefetch_slot(batch.ids[i + kAhead]);
      float* const row = found[i % kRing] = find<kInsert>(batch.ids[i]);
      if (!kAhead) {
        visit(i, row);
      } else if (row) {
        prefetch_lines<kBytes / kLineBytes>(row);
      }
    }
  }

  Map map_;
  Rows<Layout::kSpread> rows_;
};

template <class Map, size_t kAhead>
Entry indexed_entry(const char* name) {
  return {.name = name,
          .make = [](size_t most_rows) { return std::make_unique<Indexed<Map, kAhead>>(most_rows); },
          .changes_from_threads = false};
}

}  // namespace freshet::bench
