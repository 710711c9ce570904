// One bucketised cuckoo map of fixed size. GrowingMap puts many of them together.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "arena.h"
#include "hash.h"
#include "prefetch.h"

namespace freshet {

inline constexpr uint32_t kNoRow = 0xffffffff;
inline constexpr unsigned kSlots = 5;

// One cache line: five hashes and their rows. Hashing is a bijection, so a hash is as good as its key, and is
// there when a key has to move. `occupied` says which slots count, so every key is allowed.
struct alignas(64) Bucket {
  uint64_t hashes[kSlots];
  uint32_t rows[kSlots];
  uint32_t occupied : kSlots;   // bit s: slot s holds a key
  uint32_t away : 32 - kSlots;  // keys whose first choice is here and which live in their second: 0 ends a
                                // search here

  // The row of the key with this hash, or kNoRow.
  uint32_t find(uint64_t hash) const {
    const unsigned match = match_of(hash);
    return match ? rows[__builtin_ctz(match)] : kNoRow;
  }
  // The bit of the slot that holds it, or 0.
  unsigned match_of(uint64_t hash) const { return slots_equal_to(hash) & occupied; }
  unsigned slots_equal_to(uint64_t hash) const {
#if defined(__SSE2__)
    // Lower and upper halves of four side by side, as there is no comparison of 64 bits; the fifth by itself.
    static_assert(kSlots == 5);
    const auto compare_two = [this, hash](unsigned slot) {
      const __m128i two = _mm_load_si128(reinterpret_cast<const __m128i*>(&hashes[slot]));
      return _mm_castsi128_ps(_mm_cmpeq_epi32(two, _mm_set1_epi64x(static_cast<long long>(hash))));
    };
    const __m128 first = compare_two(0), last = compare_two(2);
    const __m128 lower = _mm_shuffle_ps(first, last, _MM_SHUFFLE(2, 0, 2, 0));
    const __m128 upper = _mm_shuffle_ps(first, last, _MM_SHUFFLE(3, 1, 3, 1));
    const auto four = static_cast<unsigned>(_mm_movemask_ps(_mm_and_ps(lower, upper)));
    return four | static_cast<unsigned>(hashes[4] == hash) << 4;
#else
    unsigned equal = 0;
    for (unsigned s = 0; s < kSlots; ++s) equal |= static_cast<unsigned>(hashes[s] == hash) << s;
    return equal;
#endif
  }
  bool full() const { return occupied == kAllSlots; }
  void occupy(unsigned slots) { occupied = (occupied | slots) & kAllSlots; }
  void vacate(unsigned slots) { occupied = occupied & ~slots & kAllSlots; }

 private:
  static constexpr unsigned kAllSlots = (1u << kSlots) - 1;
};
static_assert(sizeof(Bucket) == 64);

// Invariants: a key is in one of its two buckets and in one slot only; `away` of a bucket is the number of
// keys with this first choice that are elsewhere. Not thread-safe: the segment that owns it has the lock.
class CuckooMap {
 public:
  static constexpr uint32_t kNoBucket = 0xffffffff;

  struct Choice {
    uint32_t first;
    uint32_t second;
  };
  struct Move {
    uint32_t from;
    unsigned slot;
    uint32_t to;
  };
  // What a search needs, by value: the directory holds it, so that it costs no line more.
  struct View {
    Bucket* data = nullptr;
    uint64_t* full = nullptr;  // a bit for each bucket
    uint64_t salt = 0;
    uint32_t buckets = 0;

    Choice choose(uint64_t hash) const {
      const uint64_t bits = remix(hash, salt);
      const uint32_t first = scale_to(static_cast<uint32_t>(bits >> 32), buckets);
      uint32_t second = scale_to(static_cast<uint32_t>(bits), buckets);
      // Equal choices would halve this key's room; with one bucket nothing else is possible.
      if (second == first) second = second + 1 == buckets ? 0 : second + 1;
      return {first, second};
    }
    const Bucket* first(uint64_t hash) const { return data + scale_to(remix_high(hash, salt), buckets); }
    const Bucket* second(uint64_t hash) const { return data + choose(hash).second; }
    uint32_t find(uint64_t hash) const {
      const Bucket* bucket = first(hash);
      const uint32_t row = bucket->find(hash);
      return row != kNoRow || bucket->away == 0 ? row : second(hash)->find(hash);
    }
    uint32_t other(uint64_t hash, uint32_t bucket) const {
      const Choice choice = choose(hash);
      return choice.first == bucket ? choice.second : choice.first;
    }
    bool is_full(uint32_t index) const { return full[index / 64] >> index % 64 & 1; }
    // One key of two full buckets to another bucket, which has room; else `to` is kNoBucket.
    Move one_move(Choice choice) const {
      for (const uint32_t index : {choice.first, choice.second}) {
        for (unsigned slot = 0; slot < kSlots; ++slot) {
          const uint32_t to = other(data[index].hashes[slot], index);
          if (!is_full(to)) return {index, slot, to};
        }
      }
      return {0, 0, kNoBucket};
    }
    // Asks for what an insert whose second bucket is full will look at next if its first is full, too. Both
    // should be near already.
    [[gnu::always_inline]] void prefetch_moves(uint64_t hash) const {
      const Choice choice = choose(hash);
      if (!is_full(choice.first)) return;
      if (const Move move = one_move(choice); move.to != kNoBucket) {
        prefetch(data + move.to);
        return;
      }
      for (const uint32_t index : {choice.first, choice.second}) {
        for (const uint64_t moved : data[index].hashes) prefetch(data + other(moved, index));
      }
    }
  };

  // From here on, up to a block, the arena has the buckets; the heap has those of other maps.
  static constexpr size_t kArenaBytes = 4 * Arena::kGranuleBytes;

  CuckooMap(uint32_t buckets, uint64_t salt, Arena& arena);
  ~CuckooMap();
  CuckooMap(const CuckooMap& other, Arena& arena);
  CuckooMap(const CuckooMap&) = delete;
  CuckooMap& operator=(const CuckooMap&) = delete;

  const View& view() const { return view_; }
  // The key must be absent. False: no place within the search bound, and nothing has changed.
  bool insert(uint64_t hash, uint32_t row);
  // The row that the key had, or kNoRow.
  uint32_t erase(uint64_t hash);

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Bucket& bucket : std::span(view_.data, view_.buckets)) {
      for (unsigned s = 0; s < kSlots; ++s) {
        if (bucket.occupied >> s & 1) visit(bucket.hashes[s], bucket.rows[s]);
      }
    }
  }

  size_t size() const { return size_; }
  size_t slots() const { return size_t{view_.buckets} * kSlots; }
  uint32_t buckets() const { return view_.buckets; }
  // Bytes on small pages; those in huge blocks are counted by the arena.
  size_t small_page_bytes() const;

 private:
  friend class Refill;

  static constexpr size_t kSearchNodes = 512;

  struct Node {
    uint32_t bucket;
    int16_t parent;
    uint8_t slot;  // slot in the parent's bucket whose key would move here
  };
  using Path = std::array<Node, kSearchNodes>;

  size_t bytes() const { return size_t{view_.buckets} * sizeof(Bucket); }
  size_t full_words() const { return (size_t{view_.buckets} + 63) / 64; }
  bool uses_arena() const { return bytes() >= kArenaBytes && bytes() <= Arena::kBlockBytes; }
  void allocate();
  void put(uint32_t index, uint64_t hash, uint32_t row) {
    Bucket& bucket = view_.data[index];
    const int slot = std::countr_one(bucket.occupied);
    bucket.hashes[slot] = hash;
    bucket.rows[slot] = row;
    bucket.occupy(1u << slot);
    view_.full[index / 64] |= uint64_t{bucket.full()} << index % 64;
  }
  void vacate(uint32_t index, unsigned slots) {
    view_.data[index].vacate(slots);
    view_.full[index / 64] &= ~(uint64_t{1} << index % 64);
  }
  void move_key(Move move);
  uint32_t make_room(Choice choice);
  [[gnu::noinline]] uint32_t search_room(Choice choice);
  uint32_t shift_along(const Path& nodes, int16_t last);

  View view_;
  std::unique_ptr<uint64_t[]> full_;
  size_t size_ = 0;
  Arena& arena_;
};

// Inline, as inserts are many: calls in between cost a twentieth of them.
inline bool CuckooMap::insert(uint64_t hash, uint32_t row) {
  const Choice choice = view_.choose(hash);
  const uint32_t room = make_room(choice);
  if (room == kNoBucket) return false;
  put(room, hash, row);
  if (room != choice.first) ++view_.data[choice.first].away;
  ++size_;
  return true;
}

// Most chains are of one move.
inline uint32_t CuckooMap::make_room(Choice choice) {
  if (!view_.data[choice.first].full()) return choice.first;  // which is near, unlike the bit
  if (!view_.is_full(choice.second)) return choice.second;
  if (const Move move = view_.one_move(choice); move.to != kNoBucket) {
    move_key(move);
    return move.from;
  }
  return search_room(choice);
}

inline void CuckooMap::move_key(Move move) {
  const auto [from, slot, to] = move;
  Bucket& source = view_.data[from];
  put(to, source.hashes[slot], source.rows[slot]);
  vacate(from, 1u << slot);
  if (view_.choose(source.hashes[slot]).first == from) {
    ++source.away;
  } else {
    --view_.data[to].away;
  }
}

}  // namespace freshet
