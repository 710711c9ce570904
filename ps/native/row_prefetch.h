// What batch calls ask for ahead once they know the rows of a block's ids.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "batch.h"
#include "prefetch.h"
#include "segment.h"

namespace freshet {

// Each is called with the ids of a block, or some of them, and their rows. Few instructions lie between
// prefetches: a processor waits for as many pages at once as it sees prefetches ahead.
struct NoPrefetch {
  void operator()(const Segment&, std::span<const Probe>, const uint32_t*) const {}
};

// The row, or any other where there is none. By a mask, because a compiler makes a branch of a choice.
inline uint32_t row_or_any(uint32_t row) { return row & -static_cast<uint32_t>(row != kNoRow); }

// The first bytes of rows.
class PrefetchRows {
 public:
  // Of `row_bytes` each.
  PrefetchRows(size_t row_bytes, size_t bytes)
      : bytes_(bytes), begin_with_lines_(row_bytes % kLineBytes == 0) {}

  [[gnu::always_inline]] void operator()(const Segment& segment, std::span<const Probe> probes,
                                         const uint32_t* rows) const {
    const auto each = [&](auto ask) __attribute__((always_inline)) {
      for (size_t i = 0; i < probes.size(); ++i) ask(segment.rows.at(row_or_any(rows[i])));
    };
    // Loops of their own for one line and two, as of 16 floats without and with Adagrad's state.
    if (begin_with_lines_ && bytes_ == kLineBytes) {
      each([](const std::byte* row) __attribute__((always_inline)) { prefetch_lines<1>(row); });
    } else if (begin_with_lines_ && bytes_ == 2 * kLineBytes) {
      each([](const std::byte* row) __attribute__((always_inline)) { prefetch_lines<2>(row); });
    } else {
      each([this](const std::byte* row) __attribute__((always_inline)) { prefetch(row, bytes_); });
    }
  }

 private:
  size_t bytes_;
  bool begin_with_lines_;
};

// One in eight lies in two lines.
struct PrefetchMeta {
  [[gnu::always_inline]] void operator()(const Segment& segment, std::span<const Probe> probes,
                                         const uint32_t* rows) const {
    for (size_t i = 0; i < probes.size(); ++i) {
      prefetch(&segment.rows.meta(row_or_any(rows[i])), sizeof(RowMeta));
    }
  }
};

// What a change writes of rows, and the caller's `width` floats an id that it reads.
class PrefetchChange {
 public:
  PrefetchChange(size_t row_bytes, const float* in, size_t width)
      : rows_(row_bytes, row_bytes), in_(in), width_(width) {}

  [[gnu::always_inline]] void operator()(const Segment& segment, std::span<const Probe> probes,
                                         const uint32_t* rows) const {
    if (none_found(probes.size(), rows)) {
      for (const Probe& probe : probes) prefetch_input(probe);
      return;
    }
    rows_(segment, probes, rows);
    for (size_t i = 0; i < probes.size(); ++i) {
      prefetch(&segment.rows.meta(row_or_any(rows[i])), sizeof(RowMeta));
      prefetch_input(probes[i]);
    }
  }

 private:
  // As in a batch of new ids, which has nothing to ask for but its input.
  static bool none_found(size_t n, const uint32_t* rows) {
    return std::count(rows, rows + n, kNoRow) == static_cast<std::ptrdiff_t>(n);
  }
  [[gnu::always_inline]] void prefetch_input(const Probe& probe) const {
    prefetch(in_ + probe.position * width_, width_ * sizeof(float));
  }

  PrefetchRows rows_;
  const float* in_;
  size_t width_;
};

}  // namespace freshet
