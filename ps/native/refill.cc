#include "refill.h"

#include <algorithm>

namespace freshet {

bool Refill::finish() {
  put_second();
  occupy();
  return std::ranges::all_of(left_over_, [this](const Entry& e) { return map_.insert(e.hash, e.row); });
}

void Refill::put_second() {
  std::erase_if(left_over_, [this](const Entry& e) {
    const CuckooMap::Choice choice = map_.view_.choose(e.hash);
    if (!put(choice.second, e.hash, e.row)) return false;
    ++map_.view_.data[choice.first].away;
    return true;
  });
}

void Refill::occupy() {
  for (uint32_t index = 0; index < map_.buckets(); ++index) {
    Bucket& bucket = map_.view_.data[index];
    bucket.occupy((1u << used_[index]) - 1);
    map_.view_.full[index / 64] |= uint64_t{bucket.full()} << index % 64;
    map_.size_ += used_[index];
  }
}

}  // namespace freshet
