// A map that grows piece by piece: extendible hashing over small cuckoo maps.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "arena.h"
#include "batch.h"
#include "cuckoo_map.h"

namespace freshet {

// The directory is indexed by the hash bits after those that chose the segment. A piece that is full, at a
// load of 0.90 to 0.93, grows by a fifth to three tenths, and splits in two before it has kMaxBuckets: one
// insert never rebuilds more than one piece. When, by how much and when it splits is drawn at random, so that
// pieces are at all stages and the load of a large map is always about 0.81. A piece whose keys cannot be
// told apart by the directory (a flood with a known seed) grows beyond kMaxBuckets instead.
//
// Not thread-safe: the segment has the lock.
class GrowingMap {
 public:
  static constexpr uint32_t kMaxBuckets = 4096;

  GrowingMap(uint64_t seed, size_t expected_keys, Arena& arena);
  GrowingMap(const GrowingMap& other, Arena& arena);

  const CuckooMap::View& piece(uint64_t hash) const { return directory_[index_of(hash)]; }
  uint32_t find(uint64_t hash) const { return piece(hash).find(hash); }
  // The key must be absent.
  void insert(uint64_t hash, uint32_t row) {
    while (!piece_of(hash).insert(hash, row)) make_room(hash);
  }
  uint32_t erase(uint64_t hash) { return piece_of(hash).map->erase(hash); }

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Piece& p : pieces_) p.map->for_each(visit);
  }

  size_t pieces() const { return pieces_.size(); }
  // Keys of one piece. They stay there, or go to a piece of a higher number.
  template <class Visit>
  void for_each_of(size_t piece, Visit&& visit) const {
    pieces_[piece].map->for_each(visit);
  }

  // Changes whenever a piece is rebuilt: pointers to buckets taken before are void.
  uint64_t version() const { return version_; }
  size_t size() const;
  size_t slots() const;
  size_t small_page_bytes() const;

 private:
  static constexpr unsigned kMaxDepth = 14;

  struct Piece {
    std::unique_ptr<CuckooMap> map;
    size_t most_keys;  // when it has so many, it grows
    uint32_t prefix;   // the `depth` directory bits that all its keys share
    unsigned depth;

    // False: it has to grow.
    bool insert(uint64_t hash, uint32_t row) { return map->size() < most_keys && map->insert(hash, row); }
  };

  size_t index_of(uint64_t hash) const { return directory_bits(hash, depth_); }
  static size_t directory_bits(uint64_t hash, unsigned depth) {
    // Two shifts, because a shift by 64 is undefined.
    return (hash << kSegmentBits) >> 1 >> (63 - depth);
  }
  Piece& piece_of(uint64_t hash) { return pieces_[piece_index_[index_of(hash)]]; }
  [[gnu::noinline]] void make_room(uint64_t hash);
  void grow(Piece& piece);
  void split(Piece& piece, uint64_t salt);
  void enlarge(Piece& piece, uint32_t buckets, uint64_t salt);
  Piece new_piece(std::unique_ptr<CuckooMap> map, uint32_t prefix, unsigned depth);
  uint32_t next_buckets(uint32_t buckets);
  // Drawn at random, so that pieces which fill up together neither grow nor split in one batch: `least`, or
  // up to `spread` more.
  size_t draw_from(size_t least, size_t spread);
  uint64_t draw();
  // Maps with the keys of `from`, `part(hash)` says in which.
  template <size_t kParts, class Part>
  std::array<std::unique_ptr<CuckooMap>, kParts> rebuilt(const CuckooMap& from, uint64_t salt,
                                                         std::array<uint32_t, kParts> buckets, Part part);
  void rebuild_directory();

  uint64_t seed_;
  unsigned depth_ = 0;
  uint64_t version_ = 0;
  uint64_t draws_ = 0;
  std::vector<Piece> pieces_;
  // Both by directory bits: a search reads the one, a change the other.
  std::vector<CuckooMap::View> directory_;
  std::vector<uint32_t> piece_index_;
  Arena& arena_;
};

}  // namespace freshet
