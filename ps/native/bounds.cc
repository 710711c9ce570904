#include "bounds.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>

#include "hash.h"

namespace freshet {
namespace {

constexpr size_t kFewestCandidates = 64;
constexpr size_t kCandidatesPerRow = 8;
constexpr size_t kFewestEvicted = 2048;  // when there are more than too many
constexpr int64_t kPassesPerLife = 8;    // of the roster, while a row could expire
constexpr int64_t kMostAheadMs = 86'400'000;
constexpr size_t kPrefetchAhead = 8;
constexpr size_t kFewestStrays = 1024;

// Times may be any int64: the difference of two is one only when it is known to be positive.
bool is_older(int64_t ts_ms, int64_t now_ms, int64_t age_ms) {
  return ts_ms<now_ms&& static_cast<uint64_t>(now_ms) - static_cast<uint64_t>(ts_ms)> static_cast<uint64_t>(
      age_ms);
}

std::unique_ptr<AdmissionFilter> make_filter(const BoundsConfig& config) {
  if (config.min_count < 2) return nullptr;
  return std::make_unique<AdmissionFilter>(config.min_count, config.window_ms, config.tracked_ids,
                                           mix(config.seed, kGolden));
}

// Distinct ids of `roster` that have a row.
size_t rows_listed(const BoundedRows& table, std::vector<int64_t> roster) {
  const std::unique_ptr<bool[]> present(new bool[roster.size()]);
  table.contains(roster.data(), roster.size(), present.get());
  size_t kept = 0;
  for (size_t i = 0; i < roster.size(); ++i) {
    if (present[i]) roster[kept++] = roster[i];
  }
  roster.resize(kept);
  std::ranges::sort(roster);
  return static_cast<size_t>(std::ranges::unique(roster).begin() - roster.begin());
}

}  // namespace

// Which ids of a batch have a row.
class Bounds::Presence {
 public:
  Presence(const BoundedRows& table, const int64_t* ids, size_t n) : ids_(ids), n_(n), present_(new bool[n]) {
    table.contains(ids, n, present_.get());
  }
  // Positions without those marked in `skip`.
  std::vector<size_t> absent(const std::vector<bool>& skip) const {
    std::vector<size_t> positions;
    for (size_t i = 0; i < n_; ++i) {
      if (!present_[i] && !skip[i]) positions.push_back(i);
    }
    return positions;
  }
  // Ids with a row, but for those that stand only where `skip` is set.
  std::unordered_set<int64_t> present(const std::vector<bool>& skip) const {
    std::unordered_set<int64_t> ids;
    for (size_t i = 0; i < n_; ++i) {
      if (present_[i] && !skip[i]) ids.insert(ids_[i]);
    }
    return ids;
  }

 private:
  const int64_t* ids_;
  size_t n_;
  std::unique_ptr<bool[]> present_;
};

Bounds::Bounds(const BoundsConfig& config) : config_(config), filter_(make_filter(config)) {}

Bounds::Bounds(const Bounds& other)
    : config_(other.config_),
      clock_(other.clock_),
      filter_(other.filter_ ? std::make_unique<AdmissionFilter>(*other.filter_) : nullptr),
      roster_(other.roster_),
      counts_(other.counts_),
      batches_(other.batches_),
      swept_ms_(other.swept_ms_),
      owed_rows_(other.owed_rows_),
      strays_(other.strays_) {}

void Bounds::begin_batch(BoundedRows& table, const int64_t* ids, size_t n, int64_t ts_ms,
                         std::vector<bool>& skip) {
  clock_.note(ts_ms);
  ++batches_;
  const std::optional<int64_t> now_ms = clock_.now_ms();
  if (filter_ && now_ms) filter_->advance_to(*now_ms);
  skip.resize(n);
  const size_t free = config_.max_rows - std::min(config_.max_rows, rows());
  const size_t room = config_.when_full == WhenFull::kRefuse ? free : config_.max_rows;
  const Presence known(table, ids, n);
  const std::vector<size_t> fresh = admitted(ids, known.absent(skip), room, skip);
  const size_t taken = make_room(table, free, fresh.size(), known, skip);
  for (size_t i = 0; i < fresh.size(); ++i) {
    if (i < taken) {
      roster_.insert(ids[fresh[i]]);
    } else {
      skip[fresh[i]] = true;
    }
  }
  counts_.admitted += taken;
  counts_.full += fresh.size() - taken;
}

void Bounds::end_batch(BoundedRows& table) {
  const std::optional<int64_t> now_ms = clock_.now_ms();
  if (config_.expire_after_ms == 0 || !now_ms) return;
  owe_rows(*now_ms);
  sweep(table);
}

size_t Bounds::sweep(BoundedRows& table) {
  const std::optional<int64_t> now_ms = clock_.now_ms();
  if (config_.expire_after_ms == 0 || !now_ms) return 0;
  owed_rows_ = std::min(owed_rows_, roster_.size());
  const Window window = look(table, std::min(owed_rows_, config_.slice_rows));
  owed_rows_ -= window.ids.size();
  std::vector<size_t> expired;
  for (size_t i = 0; i < window.ids.size(); ++i) {
    const Stamp& stamp = window.stamps[i];
    if (!stamp.present || is_older(stamp.last_update_ms, *now_ms, config_.expire_after_ms)) {
      expired.push_back(i);
    }
  }
  const size_t before = rows();
  pass(table, window, expired);
  counts_.expired += before - rows();
  restamp(table, window, *now_ms);
  return owed_rows_;
}

void Bounds::enroll(const BoundedRows& table, const int64_t* ids, size_t n) {
  std::unordered_set<int64_t> listed;
  for (const size_t i : Presence(table, ids, n).absent(std::vector<bool>(n))) {
    if (listed.insert(ids[i]).second) roster_.insert(ids[i]);
  }
}

void Bounds::forget(const BoundedRows& table, size_t rows) {
  strays_ += rows;
  if (strays_ > this->rows() + kFewestStrays) drop_strays(table);
}

BoundsCounts Bounds::counts() const {
  BoundsCounts counts = counts_;
  if (filter_) counts.overflows = filter_->overflows();
  return counts;
}

size_t Bounds::bytes() const {
  return sizeof(*this) + roster_.bytes() + (filter_ ? sizeof(*filter_) + filter_->bytes() : 0);
}

BoundsState Bounds::save() const {
  BoundsState state;
  state.numbers = {static_cast<int64_t>(batches_), swept_ms_, static_cast<int64_t>(owed_rows_)};
  clock_.save(state.numbers);
  roster_.save(state.numbers, state.roster);
  if (filter_) filter_->save(state.numbers, state.filter);
  return state;
}

bool Bounds::restore(const BoundedRows& table, const BoundsState& state) {
  constexpr size_t kOwnNumbers = 3;
  constexpr size_t kNumbers = kOwnNumbers + EventClock::kNumbers + Roster::kNumbers;
  const bool has_filter = state.numbers.size() == kNumbers + AdmissionFilter::kNumbers;
  if (state.numbers.size() != kNumbers && !has_filter) {
    throw std::invalid_argument("the state of the bounds has not the numbers it should have");
  }
  if (rows_listed(table, state.roster) != table.size()) {
    throw std::invalid_argument("the state of the bounds does not list the rows of this table");
  }
  const int64_t* numbers = state.numbers.data();
  batches_ = static_cast<uint64_t>(numbers[0]);
  swept_ms_ = numbers[1];
  owed_rows_ = static_cast<size_t>(numbers[2]);
  clock_.restore(numbers + kOwnNumbers);
  roster_.restore(numbers + kOwnNumbers + EventClock::kNumbers, state.roster);
  strays_ = state.roster.size() - table.size();
  return !filter_ || (has_filter && filter_->restore(numbers + kNumbers, state.filter));
}

// Those of `absent` that are admitted, at most `room`, in the order of the batch, whatever it is sorted by
// later.
std::vector<size_t> Bounds::admitted(const int64_t* ids, const std::vector<size_t>& absent, size_t room,
                                     std::vector<bool>& skip) {
  std::vector<size_t> fresh;
  for (size_t i = 0; i < absent.size(); ++i) {
    if (filter_ && i + kPrefetchAhead < absent.size())
      filter_->prefetch_cells(ids[absent[i + kPrefetchAhead]]);
    const bool is_full = fresh.size() == room;
    if (!is_full && admits(ids[absent[i]])) {
      fresh.push_back(absent[i]);
    } else {
      skip[absent[i]] = true;
      ++(is_full ? counts_.full : counts_.refused);
    }
  }
  return fresh;
}

bool Bounds::admits(int64_t id) {
  if (filter_) return filter_->sight(id);
  if (config_.probability >= 1.0) return true;
  const uint64_t chance = mix(mix(static_cast<uint64_t>(id), config_.seed), batches_);
  return chance < static_cast<uint64_t>(std::ldexp(config_.probability, 64));
}

// How many of `wanted` new rows there is room for; the rows that the batch changes are not removed for it.
size_t Bounds::make_room(BoundedRows& table, size_t free, size_t wanted, const Presence& batch,
                         const std::vector<bool>& skip) {
  if (wanted <= free && rows() <= config_.max_rows) return wanted;
  if (config_.when_full == WhenFull::kRefuse) return std::min(wanted, free);
  const size_t excess = rows() + wanted - config_.max_rows;
  const size_t need = std::min(excess, std::max(2 * wanted, kFewestEvicted));
  return std::min(wanted, free + evict(table, need, batch.present(skip)));
}

size_t Bounds::evict(BoundedRows& table, size_t need, const std::unordered_set<int64_t>& spared) {
  const size_t candidates =
      std::max({kFewestCandidates, 2 * need, std::min(need * kCandidatesPerRow, config_.room_rows)});
  const Window window = look(table, candidates);
  const size_t before = rows();
  pass(table, window, victims(window, need, spared));
  const size_t evicted = before - rows();
  counts_.evicted += evicted;
  if (const auto now_ms = clock_.now_ms()) restamp(table, window, *now_ms);
  return evicted;
}

// Positions of ids without a row, and of the `need` least by the policy; what is spared is not among them.
std::vector<size_t> Bounds::victims(const Window& window, size_t need,
                                    const std::unordered_set<int64_t>& spared) const {
  const int64_t now_ms = clock_.now_ms().value_or(std::numeric_limits<int64_t>::max());
  std::vector<size_t> chosen;
  std::vector<std::tuple<uint32_t, int64_t, size_t>> ranks;
  for (size_t i = 0; i < window.ids.size(); ++i) {
    const Stamp& stamp = window.stamps[i];
    if (!stamp.present) {
      chosen.push_back(i);
    } else if (!spared.contains(window.ids[i])) {
      const uint32_t count = config_.when_full == WhenFull::kLeastFrequent ? stamp.count : 0;
      ranks.emplace_back(count, std::min(stamp.last_update_ms, now_ms), i);
    }
  }
  const size_t taken = std::min(need, ranks.size());
  if (taken < ranks.size())
    std::ranges::nth_element(ranks, ranks.begin() + static_cast<std::ptrdiff_t>(taken));
  for (size_t i = 0; i < taken; ++i) chosen.push_back(std::get<2>(ranks[i]));
  return chosen;
}

Bounds::Window Bounds::look(const BoundedRows& table, size_t most) const {
  Window window{roster_.next(most), {}};
  window.stamps.resize(window.ids.size());
  table.stamps(window.ids.data(), window.ids.size(), window.stamps.data());
  return window;
}

// Moves the hand over the window, and removes the rows of those `dropped`.
void Bounds::pass(BoundedRows& table, const Window& window, const std::vector<size_t>& dropped) {
  std::vector<int64_t> ids;
  for (const size_t i : dropped) ids.push_back(window.ids[i]);
  const size_t removed = table.drop(ids.data(), ids.size());
  strays_ -= dropped.size() - removed;
  roster_.pass(window.ids.size(), dropped);
}

// A row of a future that has not come would never be old: it counts as updated now.
void Bounds::restamp(BoundedRows& table, const Window& window, int64_t now_ms) const {
  const int64_t ahead_ms = config_.expire_after_ms == 0 ? kMostAheadMs : config_.expire_after_ms;
  std::vector<int64_t> ids;
  for (size_t i = 0; i < window.ids.size(); ++i) {
    if (is_older(now_ms, window.stamps[i].last_update_ms, ahead_ms)) ids.push_back(window.ids[i]);
  }
  table.restamp(ids.data(), ids.size(), now_ms);
}

// The roster is passed over eight times in the life of a row, a slice at a time.
void Bounds::owe_rows(int64_t now_ms) {
  if (now_ms < swept_ms_ || batches_ == EventClock::kBatches) swept_ms_ = now_ms;
  const auto advance = static_cast<double>(static_cast<uint64_t>(now_ms) - static_cast<uint64_t>(swept_ms_));
  const double passes =
      std::min(1.0, kPassesPerLife * (advance / static_cast<double>(config_.expire_after_ms)));
  const auto due = static_cast<size_t>(passes * static_cast<double>(roster_.size()));
  if (due > 0) swept_ms_ = now_ms;
  owed_rows_ = std::min(roster_.size(), owed_rows_ + due);
}

void Bounds::drop_strays(const BoundedRows& table) {
  const std::vector<int64_t> ids = roster_.ids();
  const std::unique_ptr<bool[]> present(new bool[ids.size()]);
  table.contains(ids.data(), ids.size(), present.get());
  std::unordered_set<int64_t> listed;
  std::vector<bool> keep(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) keep[i] = present[i] && listed.insert(ids[i]).second;
  roster_.keep_only(keep);
  strays_ = 0;
}

}  // namespace freshet
