#include "roster.h"

#include <algorithm>

#include "hash.h"

namespace freshet {

// One step of an inside-out shuffle: all orders stay equally likely.
void Roster::insert(int64_t id) {
  const size_t place = mix(++insertions_, kGolden) % (ids_.size() + 1);
  ids_.push_back(id);
  std::swap(ids_[place], ids_.back());
}

std::vector<int64_t> Roster::next(size_t most) const {
  const size_t count = std::min(most, ids_.size());
  const auto at = [this](size_t place) { return ids_.begin() + static_cast<std::ptrdiff_t>(place); };
  const size_t before_end = std::min(count, ids_.size() - hand_);
  std::vector<int64_t> ids(at(hand_), at(hand_ + before_end));
  ids.insert(ids.end(), at(0), at(count - before_end));
  return ids;
}

void Roster::pass(size_t passed, const std::vector<size_t>& dropped) {
  std::vector<bool> goes(passed);
  for (const size_t d : dropped) goes[d] = true;
  const std::vector<int64_t> window = next(passed);
  const auto place = [n = ids_.size(), hand = hand_](size_t i) { return (hand + i) % n; };
  size_t kept = 0;
  for (size_t i = 0; i < passed; ++i) {
    if (!goes[i]) ids_[place(kept++)] = window[i];
  }
  // The last ids take the places that are left. The hand has not passed them, unless it went round: so these
  // places come next.
  std::vector<size_t> places;
  for (size_t i = kept; i < passed; ++i) places.push_back(place(i));
  std::ranges::sort(places, std::greater());
  for (const size_t free : places) {
    ids_[free] = ids_.back();
    ids_.pop_back();
  }
  hand_ = ids_.empty() ? 0 : (hand_ + kept) % ids_.size();
}

void Roster::keep_only(const std::vector<bool>& keep) {
  size_t kept = 0;
  for (size_t place = 0; place < ids_.size(); ++place) {
    if (keep[place]) ids_[kept++] = ids_[place];
  }
  ids_.resize(kept);
  hand_ = 0;
}

void Roster::save(std::vector<int64_t>& numbers, std::vector<int64_t>& ids) const {
  numbers.push_back(static_cast<int64_t>(hand_));
  numbers.push_back(static_cast<int64_t>(insertions_));
  ids = this->ids();
}

void Roster::restore(const int64_t* numbers, const std::vector<int64_t>& ids) {
  hand_ = static_cast<size_t>(numbers[0]);
  insertions_ = static_cast<uint64_t>(numbers[1]);
  ids_.assign(ids.begin(), ids.end());
}

}  // namespace freshet
