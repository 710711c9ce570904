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

// A word of the bits at a time.
void Refill::occupy() {
  for (uint32_t begin = 0; begin < map_.buckets(); begin += 64) {
    const uint32_t end = std::min(map_.buckets(), begin + 64);
    uint64_t full = 0;
    for (uint32_t index = begin; index < end; ++index) {
      map_.view_.data[index].occupy((1u << used_[index]) - 1);
      full |= uint64_t{used_[index] == kSlots} << (index - begin);
      map_.size_ += used_[index];
    }
    map_.view_.full[begin / 64] = full;
  }
}

}  // namespace freshet
