// Fills an empty map with the keys of another.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cuckoo_map.h"

namespace freshet {

// Keys go into first buckets, and only then those left over into second ones: a key that went to its second
// would only have taken the place of one that is at home there. How full the buckets are is kept beside them
// until the end: it fits into the first-level cache.
class Refill {
 public:
  explicit Refill(CuckooMap& empty) : map_(empty), used_(std::make_unique<uint8_t[]>(empty.buckets())) {}

  void add(uint64_t hash, uint32_t row) {
    if (!put(map_.view_.choose(hash).first, hash, row)) left_over_.push_back({hash, row});
  }
  // False: there is no place for one of those left over.
  bool finish();

 private:
  struct Entry {
    uint64_t hash;
    uint32_t row;
  };

  bool put(uint32_t index, uint64_t hash, uint32_t row) {
    const uint8_t slot = used_[index];
    if (slot == kSlots) return false;
    Bucket& bucket = map_.view_.data[index];
    bucket.hashes[slot] = hash;
    bucket.rows[slot] = row;
    used_[index] = static_cast<uint8_t>(slot + 1);
    return true;
  }
  void put_second();
  void occupy();

  CuckooMap& map_;
  std::unique_ptr<uint8_t[]> used_;
  std::vector<Entry> left_over_;
};

}  // namespace freshet
