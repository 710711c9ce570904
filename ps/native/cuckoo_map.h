// One bucketised cuckoo map of fixed size. GrowingMap puts many of them together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "arena.h"
#include "hash.h"

namespace freshet {

inline constexpr uint32_t kNoRow = 0xffffffff;
inline constexpr unsigned kSlots = 4;

// One cache line: four keys and their rows. `occupied` says which slots count, so every key is allowed.
struct alignas(64) Bucket {
  int64_t keys[kSlots];
  uint32_t rows[kSlots];
  uint32_t away;      // keys whose first choice is here and which live in their second: 0 ends a search here
  uint32_t occupied;  // bit s: slot s holds a key
  uint64_t reserved;

  // The row of `key` or kNoRow.
  uint32_t find(int64_t key) const {
    const int slot = slot_of(key);
    return slot < 0 ? kNoRow : rows[slot];
  }
  int slot_of(int64_t key) const {
    unsigned equal = 0;
    for (unsigned s = 0; s < kSlots; ++s) equal |= static_cast<unsigned>(keys[s] == key) << s;
    equal &= occupied;
    return equal ? __builtin_ctz(equal) : -1;
  }
  bool full() const { return occupied == (1u << kSlots) - 1; }
};
static_assert(sizeof(Bucket) == 64);

// Invariants: a key is in one of its two buckets and in one slot only; `away` of a bucket is the number of
// keys with this first choice that are elsewhere. Not thread-safe: the segment that owns it has the lock.
class CuckooMap {
 public:
  struct Choice {
    uint32_t first;
    uint32_t second;
  };

  CuckooMap(uint32_t buckets, uint64_t seed, uint64_t salt, Arena& arena);
  ~CuckooMap();
  CuckooMap(const CuckooMap& other, Arena& arena);
  CuckooMap(const CuckooMap&) = delete;
  CuckooMap& operator=(const CuckooMap&) = delete;

  Choice choose(uint64_t hash) const {
    const uint64_t bits = remix(hash, salt_);
    const uint32_t first = scale_to(static_cast<uint32_t>(bits >> 32), buckets_);
    uint32_t second = scale_to(static_cast<uint32_t>(bits), buckets_);
    // Equal choices would halve this key's room; with one bucket nothing else is possible.
    if (second == first) second = second + 1 == buckets_ ? 0 : second + 1;
    return {first, second};
  }
  const Bucket* bucket(uint32_t index) const { return data_ + index; }

  uint32_t find(int64_t key, uint64_t hash) const;
  // `key` must be absent. False: no place within the search bound, and nothing has changed.
  bool insert(int64_t key, uint64_t hash, uint32_t row);
  // The row that `key` had, or kNoRow.
  uint32_t erase(int64_t key, uint64_t hash);

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (uint32_t b = 0; b < buckets_; ++b) {
      for (unsigned s = 0; s < kSlots; ++s) {
        if (data_[b].occupied >> s & 1) visit(data_[b].keys[s], data_[b].rows[s]);
      }
    }
  }

  size_t size() const { return size_; }
  size_t slots() const { return size_t{buckets_} * kSlots; }
  uint32_t buckets() const { return buckets_; }
  uint64_t salt() const { return salt_; }
  // Bytes on small pages; those in huge blocks are counted by the arena.
  size_t small_page_bytes() const;

 private:
  static constexpr size_t kSearchNodes = 512;

  struct Node {
    uint32_t bucket;
    int16_t parent;
    uint8_t slot;  // slot in the parent's bucket whose key would move here
  };
  using Path = std::array<Node, kSearchNodes>;

  size_t bytes() const { return size_t{buckets_} * sizeof(Bucket); }
  bool uses_arena() const { return bytes() >= Arena::kGranuleBytes && bytes() <= Arena::kBlockBytes; }
  void allocate();
  void put(uint32_t bucket, unsigned slot, int64_t key, uint32_t row);
  uint32_t other_bucket(int64_t key, uint32_t bucket, bool* is_first) const;
  void move_key(uint32_t from, unsigned slot, uint32_t to);
  std::optional<uint32_t> make_room(Choice choice);
  uint32_t shift_along(const Path& nodes, int16_t last);

  Bucket* data_ = nullptr;
  uint32_t buckets_;
  uint64_t seed_;
  uint64_t salt_;
  size_t size_ = 0;
  Arena& arena_;
};

}  // namespace freshet
