#include "reference.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "finite.h"

namespace freshet {
namespace {

bool finite(const float* values, size_t n) {
  return std::all_of(values, values + n, [](float value) { return std::isfinite(value); });
}

bool sane(const float* values, size_t n) {
  return std::all_of(values, values + n, [](float value) { return std::fabs(value) <= kMaxGradient; });
}

float made_sane(float value) {
  return std::isnan(value) ? 0 : std::clamp(value, -kMaxGradient, kMaxGradient);
}

// The sums of repeated ids, added up in the caller's order.
struct Sums {
  std::vector<int64_t> ids;  // each once, in the order in which they first come
  std::unordered_map<int64_t, std::vector<float>> of;

  Sums(const int64_t* all, size_t n, const float* gradients, size_t dim) {
    for (size_t i = 0; i < n; ++i) {
      const float* gradient = gradients + i * dim;
      const auto [found, is_new] = of.try_emplace(all[i], gradient, gradient + dim);
      if (is_new) ids.push_back(all[i]);
      for (size_t d = 0; d < dim && !is_new; ++d) found->second[d] += gradient[d];
    }
  }
};

}  // namespace

Reference::Reference(const TableConfig& config)
    : config_(config),
      initializer_(config.initializer, config.scale, config.seed, config.dim, !config.portable),
      optimizer_(config.optimizer, config.constants, config.dim, !config.portable),
      codec_(config.format, row_floats(), !config.portable) {}

void Reference::lookup(const int64_t* ids, size_t n, float* out) const {
  for (size_t i = 0; i < n; ++i) {
    const Row* row = find(ids[i]);
    const std::vector<float> values = row ? row->values : initial_row(ids[i]);
    std::copy_n(values.begin(), dim(), out + i * dim());
  }
}

void Reference::apply_gradients(const int64_t* ids, size_t n, const float* gradients, int64_t ts_ms,
                                float learning_rate) {
  if (!tracks_touched()) throw std::invalid_argument("no optimizer");
  const BadGradients bad = config_.constants.bad_gradients;
  if (bad == BadGradients::kRefuse && !sane(gradients, n * dim())) throw std::invalid_argument("not sane");
  OptimizerBatch optimizer(optimizer_, learning_rate);
  Sums sums(ids, n, gradients, dim());
  std::vector<bool> skip;
  for (const int64_t id : sums.ids) {
    skip.push_back(bad == BadGradients::kSkip && !sane(sums.of.at(id).data(), dim()));
  }
  if (bounds_) bounds_->begin_batch(*this, sums.ids.data(), sums.ids.size(), ts_ms, skip);
  for (size_t i = 0; i < sums.ids.size(); ++i) {
    if (skip[i]) continue;
    std::vector<float>& sum = sums.of.at(sums.ids[i]);
    if (bad == BadGradients::kClip) std::ranges::transform(sum, sum.begin(), made_sane);
    Row& row = changed_row(sums.ids[i]);
    optimizer.step(row.values.data(), sum.data());
    row.last_update_ms = std::max(row.last_update_ms, ts_ms);
    row.count = std::min(row.count + 1, RowMeta::kMaxCount);
  }
  if (bounds_) bounds_->end_batch(*this);
}

void Reference::assign(const int64_t* ids, size_t n, const float* rows, size_t width,
                       const int64_t* last_update_ms, const uint32_t* counts) {
  if (!finite(rows, n * width)) throw std::invalid_argument("not finite");
  if (bounds_) bounds_->enroll(*this, ids, n);
  for (size_t i = 0; i < n; ++i) {
    Row& row = changed_row(ids[i]);
    std::copy_n(rows + i * width, width, row.values.begin());
    store(row);
    row.last_update_ms = last_update_ms[i];
    if (counts) row.count = std::min(counts[i], RowMeta::kMaxCount);
  }
}

size_t Reference::remove(const int64_t* ids, size_t n) {
  const size_t removed = drop(ids, n);
  if (bounds_) bounds_->forget(*this, removed);
  return removed;
}

size_t Reference::drop(const int64_t* ids, size_t n) {
  const size_t before = rows_.size();
  for (size_t i = 0; i < n; ++i) {
    if (rows_.erase(ids[i])) touch(ids[i]);
  }
  return before - rows_.size();
}

void Reference::stamps(const int64_t* ids, size_t n, Stamp* out) const {
  for (size_t i = 0; i < n; ++i) {
    const Row* row = find(ids[i]);
    out[i] = row ? Stamp{row->last_update_ms, row->count, true} : Stamp{};
  }
}

void Reference::restamp(const int64_t* ids, size_t n, int64_t ts_ms) {
  for (size_t i = 0; i < n; ++i) {
    if (const auto row = rows_.find(ids[i]); row != rows_.end()) row->second.last_update_ms = ts_ms;
  }
}

void Reference::contains(const int64_t* ids, size_t n, bool* out) const {
  for (size_t i = 0; i < n; ++i) out[i] = rows_.contains(ids[i]);
}

void Reference::count(const int64_t* ids, size_t n, uint32_t* out) const {
  for (size_t i = 0; i < n; ++i) out[i] = find(ids[i]) ? find(ids[i])->count : 0;
}

UniqueRows Reference::lookup_unique(const int64_t* ids, size_t n) const {
  UniqueRows found{UniqueIds(nullptr, {}), nullptr};
  std::unordered_map<int64_t, int32_t> place_of;
  for (size_t i = 0; i < n; ++i) {
    const auto [place, is_new] = place_of.try_emplace(ids[i], static_cast<int32_t>(place_of.size()));
    if (is_new) found.unique.ids.push_back(ids[i]);
    found.unique.inverse.push_back(place->second);
  }
  found.rows = std::make_unique<float[]>(found.unique.ids.size() * dim());
  lookup(found.unique.ids.data(), found.unique.ids.size(), found.rows.get());
  return found;
}

Items ReferenceCut::next(size_t most) {
  const size_t end = std::min(items_->ids.size(), read_ + most);
  const size_t floats = items_->ids.empty() ? 0 : items_->rows.size() / items_->ids.size();
  const auto part = [&](const auto& all, size_t width) {
    return std::decay_t<decltype(all)>(all.begin() + static_cast<std::ptrdiff_t>(read_ * width),
                                       all.begin() + static_cast<std::ptrdiff_t>(end * width));
  };
  Items items{part(items_->ids, 1), part(items_->rows, floats), part(items_->last_update_ms, 1),
              part(items_->counts, 1)};
  read_ = end;
  return items;
}

std::unique_ptr<ReferenceCut> Reference::cut() {
  if (!cut_.expired()) throw std::invalid_argument("one cut at a time");
  const auto all = std::make_shared<const Items>(items());
  cut_ = all;
  return std::make_unique<ReferenceCut>(all);
}

std::unique_ptr<Reference> Reference::clone() const {
  auto copy = std::make_unique<Reference>(*this);
  copy->cut_.reset();
  return copy;
}

void Reference::set_bounds(const BoundsConfig& config) {
  if (!tracks_touched() || size() > 0) throw std::invalid_argument("not now");
  bounds_.emplace(config);
}

void Reference::start_pass() {
  if (bounds_) bounds_->start_pass();
}

Items Reference::items() const {
  Items items;
  for (const auto& [id, row] : rows_) {
    items.ids.push_back(id);
    items.rows.insert(items.rows.end(), row.values.begin(), row.values.end());
    items.last_update_ms.push_back(row.last_update_ms);
    items.counts.push_back(row.count);
  }
  return items;
}

unsigned Reference::mark() {
  if (!tracks_touched()) throw std::invalid_argument("no optimizer");
  for (unsigned mark = 0; mark < TouchedSets::kMarks; ++mark) {
    if (touched_.try_emplace(mark).second) return mark;
  }
  throw std::invalid_argument("no mark is left");
}

void Reference::forget(unsigned mark) {
  if (!tracks_touched() || !touched_.erase(mark)) throw std::invalid_argument("no such mark");
}

std::vector<int64_t> Reference::touched_since(unsigned mark, bool move) {
  if (!tracks_touched()) return {};
  const auto found = touched_.find(mark);
  if (found == touched_.end()) throw std::invalid_argument("no such mark");
  std::vector<int64_t> ids(found->second.begin(), found->second.end());
  if (move) found->second.clear();
  return ids;
}

const Reference::Row* Reference::find(int64_t id) const {
  const auto found = rows_.find(id);
  return found == rows_.end() ? nullptr : &found->second;
}

void Reference::adopt(int64_t id, const Reference& other) {
  if (const Row* row = other.find(id)) {
    changed_row(id) = *row;
  } else {
    remove(&id, 1);
  }
}

std::vector<float> Reference::initial_row(int64_t id) const {
  std::vector<float> values(row_floats());
  initializer_.fill(id, values.data());
  optimizer_.initialize_state(values.data() + dim());
  return values;
}

void Reference::store(Row& row) const {
  if (codec_.is_float32()) return;
  std::vector<std::byte> stored(codec_.row_bytes());
  codec_.write(stored.data(), row.values.data());
  codec_.read(stored.data(), row.values.data());
}

void Reference::touch(int64_t id) {
  if (!tracks_touched()) return;
  for (auto& [mark, ids] : touched_) ids.insert(id);
}

Reference::Row& Reference::changed_row(int64_t id) {
  touch(id);
  const auto [found, is_new] = rows_.try_emplace(id);
  if (is_new) found->second.values = initial_row(id);
  return found->second;
}

}  // namespace freshet
