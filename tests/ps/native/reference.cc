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

// The sums of repeated ids, in the caller's order.
std::unordered_map<int64_t, std::vector<float>> sum_by_id(const int64_t* ids, size_t n,
                                                          const float* gradients, size_t dim) {
  std::unordered_map<int64_t, std::vector<float>> sums;
  for (size_t i = 0; i < n; ++i) {
    const float* gradient = gradients + i * dim;
    const auto [found, is_new] = sums.try_emplace(ids[i], gradient, gradient + dim);
    for (size_t d = 0; d < dim && !is_new; ++d) found->second[d] += gradient[d];
  }
  return sums;
}

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
  auto sums = sum_by_id(ids, n, gradients, dim());
  for (auto& [id, sum] : sums) {
    if (bad == BadGradients::kSkip && !sane(sum.data(), dim())) continue;
    if (bad == BadGradients::kClip) std::ranges::transform(sum, sum.begin(), made_sane);
    Row& row = changed_row(id);
    optimizer.step(row.values.data(), sum.data());
    row.last_update_ms = std::max(row.last_update_ms, ts_ms);
    row.count = std::min(row.count + 1, RowMeta::kMaxCount);
  }
}

void Reference::assign(const int64_t* ids, size_t n, const float* rows, size_t width,
                       const int64_t* last_update_ms, const uint32_t* counts) {
  if (!finite(rows, n * width)) throw std::invalid_argument("not finite");
  for (size_t i = 0; i < n; ++i) {
    Row& row = changed_row(ids[i]);
    std::copy_n(rows + i * width, width, row.values.begin());
    store(row);
    row.last_update_ms = last_update_ms[i];
    if (counts) row.count = std::min(counts[i], RowMeta::kMaxCount);
  }
}

size_t Reference::remove(const int64_t* ids, size_t n) {
  const size_t before = rows_.size();
  for (size_t i = 0; i < n; ++i) {
    if (rows_.erase(ids[i]) && tracks_touched()) touched_.insert(ids[i]);
  }
  return before - rows_.size();
}

void Reference::contains(const int64_t* ids, size_t n, bool* out) const {
  for (size_t i = 0; i < n; ++i) out[i] = rows_.contains(ids[i]);
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

std::vector<int64_t> Reference::touched_since(unsigned, bool move) {
  std::vector<int64_t> ids(touched_.begin(), touched_.end());
  if (move) touched_.clear();
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

Reference::Row& Reference::changed_row(int64_t id) {
  if (tracks_touched()) touched_.insert(id);
  const auto [found, is_new] = rows_.try_emplace(id);
  if (is_new) found->second.values = initial_row(id);
  return found->second;
}

}  // namespace freshet
