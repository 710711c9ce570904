#include "roster.h"

#include <algorithm>
#include <ranges>

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
  std::vector<size_t> places;
  for (const size_t d : dropped) places.push_back((hand_ + d) % ids_.size());
  std::ranges::sort(places, std::greater());
  // From the back, so that the last id, which takes the place, is never one that goes as well.
  for (const size_t place : places) {
    ids_[place] = ids_.back();
    ids_.pop_back();
  }
  hand_ = ids_.empty() ? 0 : (hand_ + passed) % ids_.size();
}

void Roster::save(std::vector<int64_t>& numbers, std::vector<int64_t>& ids) const {
  numbers.push_back(static_cast<int64_t>(hand_));
  numbers.push_back(static_cast<int64_t>(insertions_));
  ids.assign(ids_.begin(), ids_.end());
}

void Roster::restore(const int64_t* numbers, const std::vector<int64_t>& ids) {
  hand_ = static_cast<size_t>(numbers[0]);
  insertions_ = static_cast<uint64_t>(numbers[1]);
  ids_.assign(ids.begin(), ids.end());
}

}  // namespace freshet
