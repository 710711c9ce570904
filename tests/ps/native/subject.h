// A table under test, native or reference, and what it answers to an operation.
#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "hash.h"
#include "operations.h"

namespace freshet {

struct Outcome {
  std::vector<int64_t> ids;
  std::vector<uint32_t> bits;  // of floats
  std::vector<int64_t> times;
  std::vector<uint32_t> counts;
  bool refused = false;

  bool operator==(const Outcome&) const = default;
};

inline std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::ranges::transform(values, bits.begin(), [](float value) { return std::bit_cast<uint32_t>(value); });
  return bits;
}

// By id: a table has no order.
inline Outcome sorted(const Items& items, size_t row_floats) {
  std::vector<size_t> order(items.ids.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&items](size_t i) { return items.ids[i]; });
  Outcome outcome;
  for (const size_t i : order) {
    outcome.ids.push_back(items.ids[i]);
    const float* row = items.rows.data() + i * row_floats;
    for (size_t d = 0; d < row_floats; ++d) outcome.bits.push_back(std::bit_cast<uint32_t>(row[d]));
    outcome.times.push_back(items.last_update_ms[i]);
    outcome.counts.push_back(items.counts[i]);
  }
  return outcome;
}

// Arrays are made before the call and read after it; `around(call)` makes the call itself, so that a test can
// let memory fail in it and nowhere else.
template <class T>
class Subject {
 public:
  explicit Subject(const TableConfig& config) : config_(config), table_(std::make_unique<T>(config)) {}
  Subject(const TableConfig& config, std::unique_ptr<T> table) : config_(config), table_(std::move(table)) {}

  const TableConfig& config() const { return config_; }
  T& table() { return *table_; }
  Subject clone() const {
    Subject copy(config_, table_->clone());
    copy.bounds_ = bounds_;
    return copy;
  }

  Outcome perform(const Operation& operation) {
    return perform(operation, [](auto call) { call(); });
  }

  template <class Around>
  Outcome perform(const Operation& operation, Around around) {
    try {
      return act(operation, around);
    } catch (const std::invalid_argument&) {
      Outcome refused;
      refused.refused = true;
      return refused;
    }
  }

 private:
  template <class Around>
  Outcome act(const Operation& o, Around around) {
    switch (o.act) {
      case Act::kApplyGradients:
      case Act::kGradientsWithNan:
      case Act::kGradientsWithInfiniteSum:
        return apply_gradients(o, around);
      case Act::kAssignEmbeddings:
      case Act::kAssignRows:
      case Act::kAssignRowsAndCounts:
      case Act::kAssignInfinity:
        return assign(o, around);
      case Act::kLookup:
        return lookup(o, around);
      case Act::kContains:
        return contains(o, around);
      case Act::kRemove:
        return remove(o, around);
      case Act::kItems:
        return items(around);
      case Act::kTouched:
      case Act::kTouchedAndClear:
        return touched(0, o.act == Act::kTouchedAndClear, around);
      case Act::kClone:
        cut_.reset();
        around([&] { table_ = table_->clone(); });
        return {};
      case Act::kRestore:
        return restore(o, around);
      case Act::kCount:
        return count(o, around);
      case Act::kLookupUnique:
        return lookup_unique(o, around);
      case Act::kMark:
      case Act::kForgetMark:
        return mark(o, around);
      case Act::kTouchedSinceMark:
        return touched(mark_of(o), o.seed & 128, around);
      case Act::kBeginCut:
        return begin_cut(around);
      case Act::kReadCut:
      case Act::kReadCutToItsEnd:
        return read_cut(o, around);
      case Act::kCloseCut:
        around([&] { cut_.reset(); });
        return {};
      case Act::kSetBounds:
        around([&] { table_->set_bounds(bounds_of(o)); });
        bounds_ = bounds_of(o);
        return {};
      case Act::kTimePasses:
        around([&] {
          for (size_t i = 0; i < EventClock::kBatches; ++i)
            table_->apply_gradients(nullptr, 0, nullptr, o.ts_ms, kLearningRate);
        });
        return now();
      case Act::kExpire:
        return expire(around);
    }
    return {};
  }

  static unsigned mark_of(const Operation& o) { return o.seed % (TouchedSets::kMarks + 1); }

  template <class Around>
  Outcome apply_gradients(const Operation& o, Around around) {
    std::vector<int64_t> ids = o.ids;
    if (o.act == Act::kGradientsWithInfiniteSum) ids.insert(ids.end(), 2, 5);
    std::vector<float> gradients = floats_of(o.seed, ids.size() * config_.dim);
    if (o.act == Act::kGradientsWithNan && !gradients.empty()) {
      gradients[o.seed % gradients.size()] = std::numeric_limits<float>::quiet_NaN();
    }
    if (o.act == Act::kGradientsWithInfiniteSum) {
      std::fill(gradients.end() - static_cast<std::ptrdiff_t>(2 * config_.dim), gradients.end(), 3e38f);
    }
    around(
        [&] { table_->apply_gradients(ids.data(), ids.size(), gradients.data(), o.ts_ms, kLearningRate); });
    return {};
  }

  template <class Around>
  Outcome assign(const Operation& o, Around around) {
    const size_t n = o.ids.size();
    const size_t width = o.act == Act::kAssignEmbeddings ? config_.dim : table_->row_floats();
    std::vector<float> rows = floats_of(o.seed, n * width);
    // Sums of squares, where rows have them, are not negative.
    for (float& value : rows) value = value < 0 ? -value : value;
    if (o.act == Act::kAssignInfinity && n > 0) rows.back() = std::numeric_limits<float>::infinity();
    std::vector<int64_t> times(n);
    std::vector<uint32_t> counts(n);
    for (size_t i = 0; i < n; ++i) {
      times[i] = o.ts_ms + static_cast<int64_t>(i);
      counts[i] = static_cast<uint32_t>(mix(i, o.seed));  // half of them more than a row can hold
    }
    const uint32_t* counts_or_none = o.act == Act::kAssignRowsAndCounts ? counts.data() : nullptr;
    around([&] { table_->assign(o.ids.data(), n, rows.data(), width, times.data(), counts_or_none); });
    return {};
  }

  template <class Around>
  Outcome lookup(const Operation& o, Around around) {
    std::vector<float> out(o.ids.size() * config_.dim);
    around([&] { table_->lookup(o.ids.data(), o.ids.size(), out.data()); });
    Outcome outcome;
    outcome.bits = bits_of(out);
    return outcome;
  }

  template <class Around>
  Outcome contains(const Operation& o, Around around) {
    const auto out = std::make_unique<bool[]>(o.ids.size());
    around([&] { table_->contains(o.ids.data(), o.ids.size(), out.get()); });
    Outcome outcome;
    outcome.counts.assign(out.get(), out.get() + o.ids.size());
    outcome.counts.push_back(static_cast<uint32_t>(table_->size()));
    return outcome;
  }

  template <class Around>
  Outcome remove(const Operation& o, Around around) {
    size_t removed = 0;
    around([&] { removed = table_->remove(o.ids.data(), o.ids.size()); });
    Outcome outcome;
    outcome.counts = {static_cast<uint32_t>(removed)};
    return outcome;
  }

  template <class Around>
  Outcome items(Around around) {
    Items items;
    around([&] { items = table_->items(); });
    return sorted(items, table_->row_floats());
  }

  template <class Around>
  Outcome touched(unsigned mark, bool move, Around around) {
    Outcome outcome;
    around([&] { outcome.ids = table_->touched_since(mark, move); });
    std::ranges::sort(outcome.ids);
    return outcome;
  }

  template <class Around>
  Outcome mark(const Operation& o, Around around) {
    unsigned made = 0;
    around([&] {
      if (o.act == Act::kMark) made = table_->mark();
      if (o.act == Act::kForgetMark) table_->forget(mark_of(o));
    });
    Outcome outcome;
    outcome.counts = {made};
    return outcome;
  }

  template <class Around>
  Outcome count(const Operation& o, Around around) {
    Outcome outcome;
    outcome.counts.resize(o.ids.size());
    around([&] { table_->count(o.ids.data(), o.ids.size(), outcome.counts.data()); });
    return outcome;
  }

  template <class Around>
  Outcome lookup_unique(const Operation& o, Around around) {
    std::optional<UniqueRows> found;
    around([&] { found.emplace(table_->lookup_unique(o.ids.data(), o.ids.size())); });
    Outcome outcome;
    outcome.ids = found->unique.ids;
    outcome.times.assign(found->unique.inverse.begin(), found->unique.inverse.end());
    outcome.bits = bits_of({found->rows.get(), found->rows.get() + outcome.ids.size() * config_.dim});
    return outcome;
  }

  template <class Around>
  Outcome begin_cut(Around around) {
    // One that was read to its end no longer counts.
    if (cut_ && read_.ids.size() == cut_rows_) cut_.reset();
    const size_t rows = table_->size();
    decltype(cut_) begun;
    around([&] { begun = table_->cut(); });
    cut_ = std::move(begun);
    read_ = {};
    cut_rows_ = rows;
    return {};
  }

  // Chunks have no order: what is compared is their sum, and that no row comes twice.
  template <class Around>
  Outcome read_cut(const Operation& o, Around around) {
    if (!cut_) return {};
    const size_t most = 1 + o.seed * 8;
    size_t left = o.act == Act::kReadCut ? most : cut_rows_ + 1;
    for (Items chunk; left > 0; left -= std::min(left, chunk.ids.size())) {
      around([&] { chunk = cut_->next(std::min(most, left)); });
      if (chunk.ids.empty()) break;
      read_.ids.insert(read_.ids.end(), chunk.ids.begin(), chunk.ids.end());
      read_.rows.insert(read_.rows.end(), chunk.rows.begin(), chunk.rows.end());
      read_.last_update_ms.insert(read_.last_update_ms.end(), chunk.last_update_ms.begin(),
                                  chunk.last_update_ms.end());
      read_.counts.insert(read_.counts.end(), chunk.counts.begin(), chunk.counts.end());
    }
    return o.act == Act::kReadCut ? Outcome{} : sorted(read_, table_->row_floats());
  }

  template <class Around>
  Outcome expire(Around around) {
    uint32_t sweeps = 0, looks = 0;
    around([&] {
      table_->start_pass();
      for (; const auto left = static_cast<uint32_t>(table_->sweep()); ++sweeps) looks += left;
    });
    Outcome outcome = now();
    outcome.counts = {sweeps, looks};
    return outcome;
  }

  Outcome now() const {
    Outcome outcome;
    if (const std::optional<int64_t> now_ms = table_->now_ms()) outcome.times = {*now_ms};
    return outcome;
  }

  template <class Around>
  Outcome restore(const Operation& o, Around around) {
    const Items all = table_->items();
    TableConfig config = config_;
    config.placement_seed = mix(o.seed, config.placement_seed);
    config.initial_capacity_rows = all.ids.size() / 2;
    cut_.reset();
    std::unique_ptr<T> other;
    around([&] {
      other = std::make_unique<T>(config);
      if (bounds_) other->set_bounds(*bounds_);
      other->assign(all.ids.data(), all.ids.size(), all.rows.data(), table_->row_floats(),
                    all.last_update_ms.data(), all.counts.data());
      if (!other->restore_bounds(table_->bounds_state())) throw std::logic_error("another filter");
    });
    table_ = std::move(other);
    config_ = config;
    return {};
  }

  TableConfig config_;
  std::unique_ptr<T> table_;
  std::optional<BoundsConfig> bounds_;
  decltype(std::declval<T&>().cut()) cut_;  // null: none; after the table, which it must not outlive
  Items read_;                              // of it
  size_t cut_rows_ = 0;
};

}  // namespace freshet
