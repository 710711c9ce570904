#include "table.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>

#include "finite.h"
#include "hash.h"
#include "initial_rows.h"
#include "row_prefetch.h"

namespace freshet {
namespace {

void check_mark(const Segment& segment, unsigned mark) {
  if (!segment.touched.uses(mark)) throw std::invalid_argument("this table has no such mark");
}

bool make_room(std::vector<int64_t>& ids, size_t more) try {
  ids.reserve(ids.size() + more);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void copy_floats(void* out, const void* in, size_t n) {
  if (n == 16) {
    std::memcpy(out, in, 16 * sizeof(float));  // the usual width, inlined
  } else {
    std::memcpy(out, in, n * sizeof(float));
  }
}

}  // namespace

Table::Table(const TableConfig& config)
    : config_(config),
      initializer_(config.initializer, config.scale, config.seed, config.dim, config.portable),
      optimizer_(config.optimizer, config.constants, config.dim, config.portable),
      gradient_policy_(config.constants.bad_gradients, config.dim),
      codec_(config.format, row_floats(), config.portable),
      space_(codec_.row_bytes()) {
  if (tracks_touched() && !codec_.is_float32())
    throw std::invalid_argument("a table with an optimizer has rows of float32");
  for (size_t s = 0; s < kSegments; ++s) {
    const double first_slab = static_cast<double>(s + 1) / kSegments;
    // Each its own salts, and so its own times to grow.
    segments_[s] =
        std::make_unique<Segment>(mix(s, config.placement_seed), config.initial_capacity_rows / kSegments,
                                  arena_, list_arena_, space_, first_slab, tracks_touched());
  }
}

template <Access kAccess, class Prefetch, class Visit>
void Table::walk_blocks(std::span<const Probe> probes, Prefetch prefetch, Visit visit) const {
  Walk<kAccess, Prefetch, Visit>(segments_, prefetch, visit).run(probes, config_.threads);
}

template <Access kAccess, class Prefetch, class Visit>
void Table::walk(std::span<const Probe> probes, Prefetch prefetch, Visit visit) const {
  walk_blocks<kAccess>(probes, prefetch, one_by_one(visit));
}

void Table::lookup(const int64_t* ids, size_t n, float* out) const {
  lookup(ids, Probes(ids, n, config_.placement_seed), out, nullptr);
}

void Table::find(const int64_t* ids, size_t n, float* out, bool* found) const {
  lookup(ids, Probes(ids, n, config_.placement_seed), out, found);
}

UniqueRows Table::lookup_unique(const int64_t* ids, size_t n) const {
  UniqueRows found{UniqueIds(ids, hash_all(ids, n, config_.placement_seed)), nullptr};
  const UniqueIds& unique = found.unique;
  found.rows = std::make_unique_for_overwrite<float[]>(unique.ids.size() * config_.dim);
  lookup(unique.ids.data(), Probes(unique.hashes), found.rows.get(), nullptr);
  return found;
}

void Table::lookup(const int64_t* ids, std::span<const Probe> probes, float* out, bool* found) const {
  const size_t dim = config_.dim;
  const auto read_all = [&](size_t read_bytes, auto read) {
    // By value: the loop then reads none of it from memory.
    const auto visit = [ this, ids, out, found, dim,
                         read ](Segment & segment, std::span<const Probe> block, const uint32_t* rows)
        __attribute__((always_inline)) {
      std::array<uint32_t, kMostVisited> absent;
      uint32_t absents = 0;
      for (size_t i = 0; i < block.size(); ++i) {
        const uint32_t position = block[i].position;
        if (found) found[position] = rows[i] != kNoRow;
        if (rows[i] == kNoRow) {
          absent[absents++] = position;
        } else {
          read(segment.rows.at(rows[i]), out + position * dim);
        }
      }
      if (absents) initializer_.fill(ids, std::span(absent).first(absents), out);
    };
    // Where it writes is not asked for: the processor can wait for stores.
    walk_blocks<Access::kShared>(probes, PrefetchRows(codec_.row_bytes(), read_bytes), visit);
  };
  if (codec_.is_float32()) {
    read_all(dim * sizeof(float), [dim](const std::byte* row, float* to) { copy_floats(to, row, dim); });
  } else {
    read_all(codec_.row_bytes(), [this](const std::byte* row, float* to) { codec_.read(row, to); });
  }
}

template <class Embedding>
uint32_t Table::find_or_insert(Segment& segment, uint64_t hash, Embedding embedding) const {
  uint32_t row = segment.map.find(hash);
  if (row != kNoRow) return row;
  row = segment.insert(hash);
  if (codec_.is_float32()) optimizer_.begin(segment.rows.values(row), embedding());
  return row;
}

void Table::apply_gradients(const int64_t* ids, size_t n, const float* gradients, int64_t ts_ms,
                            float learning_rate) {
  if (!tracks_touched()) throw std::invalid_argument("this table has no optimizer: it takes no gradients");
  const auto turn = this->turn();
  Probes probes(ids, n, config_.placement_seed);
  SummedGradients sums(probes, gradients, config_.dim);
  gradient_policy_.apply(gradients, n, sums, probes);
  bounded([&] {
    if (bounds_) leave_out_unadmitted(probes, ids, n, ts_ms);
    const auto visit = [
      &, optimizer = OptimizerBatch(optimizer_, learning_rate), initial = InitialRows(initializer_, config_.dim)
    ](Segment & segment, std::span<const Probe> block, const uint32_t* rows) mutable
        __attribute__((always_inline)) {
      initial.begin_block(ids, block, rows);
      size_t absents = 0;
      for (size_t i = 0; i < block.size(); ++i) {
        const Probe& probe = block[i];
        const int64_t id = ids[probe.position];
        uint32_t row = rows[i];
        if (row == kNoRow) {
          row = find_or_insert(segment, probe.hash, [&, nth = absents++] { return initial.of(nth, id); });
        }
        segment.before_change(id, probe.hash, row);
        optimizer.step(segment.rows.values(row), sums.of(probe));
        RowMeta& meta = segment.rows.meta(row);
        meta.set_last_update_ms(std::max(meta.last_update_ms(), ts_ms));
        meta.count_up();
      }
    };
    walk_blocks<Access::kExclusive>(probes, PrefetchChange(codec_.row_bytes(), gradients, config_.dim),
                                    visit);
    if (bounds_) bounds_->end_batch(*this);
  });
}

void Table::leave_out_unadmitted(Probes& probes, const int64_t* ids, size_t n, int64_t ts_ms) {
  std::vector<bool> skip(n, true);
  for (const Probe& probe : probes.all()) skip[probe.position] = false;
  bounds_->begin_batch(*this, ids, n, ts_ms, skip);
  probes.keep_if([&skip](const Probe& probe) { return !skip[probe.position]; });
}

template <class Change>
void Table::bounded(Change change) {
  try {
    change();
  } catch (...) {
    if (bounds_) bounds_->recount(*this);
    throw;
  }
}

void Table::assign(const int64_t* ids, size_t n, const float* rows, size_t width,
                   const int64_t* last_update_ms, const uint32_t* counts) {
  if (!all_finite(rows, n * width)) throw std::invalid_argument("a row holds NaN or an infinite value");
  const auto turn = this->turn();
  bounded([&] {
    if (bounds_) bounds_->enroll(*this, ids, n);
    set_rows(ids, n, rows, width, last_update_ms, counts, true);
  });
}

void Table::put_back(const int64_t* ids, size_t n, const float* rows, const int64_t* last_update_ms,
                     const uint32_t* counts) {
  set_rows(ids, n, rows, row_floats(), last_update_ms, counts, false);
}

void Table::set_rows(const int64_t* ids, size_t n, const float* rows, size_t width,
                     const int64_t* last_update_ms, const uint32_t* counts, bool touch) {
  walk<Access::kExclusive>(Probes(ids, n, config_.placement_seed),
                           PrefetchChange(codec_.row_bytes(), rows, width),
                           [&](Segment& segment, const Probe& probe, uint32_t row) {
                             const float* from = rows + probe.position * width;
                             if (row == kNoRow)
                               row = find_or_insert(segment, probe.hash, [from] { return from; });
                             if (touch) {
                               segment.before_change(ids[probe.position], probe.hash, row);
                             } else {
                               segment.cut.preserve(probe.hash, row, segment.rows);
                             }
                             if (codec_.is_float32()) {
                               copy_floats(segment.rows.values(row), from, width);
                             } else {
                               codec_.write(segment.rows.at(row), from);
                             }
                             RowMeta& meta = segment.rows.meta(row);
                             meta.set_last_update_ms(last_update_ms[probe.position]);
                             if (counts) meta.set_count(counts[probe.position]);
                           });
}

size_t Table::remove(const int64_t* ids, size_t n) {
  const auto turn = this->turn();
  size_t removed = 0;
  bounded([&] {
    removed = drop(ids, n);
    if (bounds_) bounds_->forget(*this, removed);
  });
  return removed;
}

size_t Table::drop(const int64_t* ids, size_t n) { return remove_rows(ids, n, true); }

size_t Table::take_out(const int64_t* ids, size_t n) { return remove_rows(ids, n, false); }

size_t Table::remove_rows(const int64_t* ids, size_t n, bool touch) {
  std::atomic<size_t> removed = 0;
  // A removed row's first bytes become a link of the free list.
  walk<Access::kExclusive>(Probes(ids, n, config_.placement_seed), PrefetchRows(codec_.row_bytes(), 1),
                           [&](Segment& segment, const Probe& probe, uint32_t) {
                             removed += segment.remove(ids[probe.position], probe.hash, touch);
                           });
  return removed;
}

void Table::stamps(const int64_t* ids, size_t n, Stamp* out) const {
  walk<Access::kShared>(Probes(ids, n, config_.placement_seed), PrefetchMeta(),
                        [out](Segment& segment, const Probe& probe, uint32_t row) {
                          Stamp& stamp = out[probe.position] = {};
                          if (row == kNoRow) return;
                          const RowMeta& meta = segment.rows.meta(row);
                          stamp = {meta.last_update_ms(), meta.count(), true};
                        });
}

void Table::restamp(const int64_t* ids, size_t n, int64_t ts_ms) {
  walk<Access::kExclusive>(Probes(ids, n, config_.placement_seed), PrefetchMeta(),
                           [ts_ms](Segment& segment, const Probe& probe, uint32_t row) {
                             if (row == kNoRow) return;
                             segment.cut.preserve(probe.hash, row, segment.rows);
                             segment.rows.meta(row).set_last_update_ms(ts_ms);
                           });
}

void Table::contains(const int64_t* ids, size_t n, bool* out) const {
  walk<Access::kShared>(
      Probes(ids, n, config_.placement_seed), NoPrefetch(),
      [out](Segment&, const Probe& probe, uint32_t row) { out[probe.position] = row != kNoRow; });
}

void Table::count(const int64_t* ids, size_t n, uint32_t* out) const {
  walk<Access::kShared>(Probes(ids, n, config_.placement_seed), PrefetchMeta(),
                        [out](Segment& segment, const Probe& probe, uint32_t row) {
                          out[probe.position] = row == kNoRow ? 0 : segment.rows.meta(row).count();
                        });
}

Items Table::items() const {
  SegmentLocks<Access::kShared> locks(segments_);
  locks.acquire_all();
  size_t total = 0;
  for (const auto& segment : segments_) total += segment->map.size();
  Items items;
  items.ids.reserve(total);
  items.rows.reserve(total * row_floats());
  items.last_update_ms.reserve(total);
  items.counts.reserve(total);
  for (const auto& segment : segments_) {
    segment->map.for_each([&](uint64_t hash, uint32_t row) {
      items.append(static_cast<int64_t>(unmix(hash, config_.placement_seed)), segment->rows.at(row),
                   segment->rows.meta(row), codec_);
    });
  }
  return items;
}

Items Table::ages() const {
  Items items;
  for (const auto& segment : segments_) {
    std::shared_lock lock(segment->mutex);
    segment->map.for_each([&](uint64_t hash, uint32_t row) {
      items.ids.push_back(static_cast<int64_t>(unmix(hash, config_.placement_seed)));
      items.last_update_ms.push_back(segment->rows.meta(row).last_update_ms());
      items.counts.push_back(segment->rows.meta(row).count());
    });
  }
  return items;
}

Items Table::oldest(size_t index, size_t most) const {
  struct Candidate {
    int64_t last_update_ms;
    uint64_t hash;
    uint32_t row;
  };
  const Segment& segment = *segments_.at(index);
  std::shared_lock lock(segment.mutex);
  std::vector<Candidate> candidates;
  candidates.reserve(segment.map.size());
  segment.map.for_each([&](uint64_t hash, uint32_t row) {
    candidates.push_back({segment.rows.meta(row).last_update_ms(), hash, row});
  });
  most = std::min(most, candidates.size());
  std::ranges::nth_element(candidates, candidates.begin() + static_cast<std::ptrdiff_t>(most), {},
                           &Candidate::last_update_ms);
  Items items;
  for (size_t i = 0; i < most; ++i) {
    const auto& [ts_ms, hash, row] = candidates[i];
    items.append(static_cast<int64_t>(unmix(hash, config_.placement_seed)), segment.rows.at(row),
                 segment.rows.meta(row), codec_);
  }
  return items;
}

std::unique_ptr<Cut> Table::cut() { return std::make_unique<Cut>(segments_, codec_, config_.placement_seed); }

unsigned Table::mark() {
  SegmentLocks<Access::kExclusive> locks(segments_);
  locks.acquire_all();
  const unsigned mark = segments_[0]->touched.unused();
  if (!tracks_touched()) throw std::invalid_argument("this table has no optimizer: it lists no changes");
  if (mark == TouchedSets::kMarks) throw std::invalid_argument("all marks of this table are in use");
  for (auto& segment : segments_) segment->touched.begin(mark);
  return mark;
}

void Table::forget(unsigned mark) {
  {
    SegmentLocks<Access::kExclusive> locks(segments_);
    locks.acquire_all();
    check_mark(*segments_[0], mark);
    for (auto& segment : segments_) segment->touched.end(mark, segment->rows);
  }
  list_arena_.keep_used();
}

std::vector<int64_t> Table::touched_since(unsigned mark, bool move) {
  std::vector<int64_t> ids;
  if (!tracks_touched()) return ids;
  ids.reserve(sum_over_segments([mark](const Segment& s) {
    check_mark(s, mark);
    return s.touched.most_ids(mark);
  }));
  // As many rows are likely to be touched until the next call, and pages that the system has back come
  // slowly.
  if (move) list_arena_.keep_used();
  for (auto& segment : segments_) {
    std::lock_guard lock(segment->mutex);
    check_mark(*segment, mark);
    // More than was counted a moment ago, and no memory: what is taken must reach the caller, the rest stays.
    if (move && !make_room(ids, segment->touched.most_ids(mark))) break;
    segment->touched.append_to(ids, mark);
    if (move) segment->touched.clear(mark, segment->rows);
  }
  return ids;
}

std::unique_ptr<Table> Table::clone() const {
  const auto turn = this->turn();
  SegmentLocks<Access::kShared> locks(segments_);
  locks.acquire_all();
  TableConfig empty = config_;
  empty.initial_capacity_rows = 0;
  auto copy = std::make_unique<Table>(empty);
  copy->space_.take_as(space_);
  for (size_t s = 0; s < kSegments; ++s) {
    copy->segments_[s] =
        std::make_unique<Segment>(*segments_[s], copy->arena_, copy->list_arena_, copy->space_);
  }
  if (bounds_) copy->bounds_ = std::make_unique<Bounds>(*bounds_);
  return copy;
}

void Table::set_bounds(const BoundsConfig& config) {
  if (!tracks_touched())
    throw std::invalid_argument("this table has no optimizer: it has no bounds of its own");
  if (size() > 0) throw std::invalid_argument("bounds are set while a table is empty");
  bounds_ = std::make_unique<Bounds>(config);
}

void Table::start_pass() {
  const auto turn = this->turn();
  if (bounds_) bounds_->start_pass();
}

size_t Table::sweep() {
  const auto turn = this->turn();
  size_t left = 0;
  bounded([&] { left = bounds_ ? bounds_->sweep(*this) : 0; });
  return left;
}

std::optional<int64_t> Table::now_ms() const {
  const auto turn = this->turn();
  return bounds_ ? bounds_->now_ms() : std::nullopt;
}

BoundsCounts Table::bounds_counts() const {
  const auto turn = this->turn();
  return bounds_ ? bounds_->counts() : BoundsCounts{};
}

BoundsState Table::bounds_state() const {
  const auto turn = this->turn();
  return bounds_ ? bounds_->save() : BoundsState{};
}

bool Table::restore_bounds(const BoundsState& state) {
  const auto turn = this->turn();
  return !bounds_ || bounds_->restore(*this, state);
}

template <class Get>
size_t Table::sum_over_segments(Get get) const {
  size_t total = 0;
  for (const auto& segment : segments_) {
    std::shared_lock lock(segment->mutex);
    total += get(*segment);
  }
  return total;
}

size_t Table::size() const {
  return sum_over_segments([](const Segment& s) { return s.map.size(); });
}

size_t Table::capacity() const {
  return sum_over_segments([](const Segment& s) { return s.map.slots(); });
}

size_t Table::memory_bytes() const {
  const auto turn = this->turn();
  return sizeof(*this) + arena_.huge_bytes() + list_arena_.taken_bytes() + space_.huge_bytes() +
         (bounds_ ? bounds_->bytes() : 0) +
         sum_over_segments([](const Segment& s) { return sizeof(s) + s.small_page_bytes(); });
}

}  // namespace freshet
