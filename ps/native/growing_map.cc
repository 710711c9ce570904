#include "growing_map.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace freshet {
namespace {

constexpr uint32_t kStep = Arena::kGranuleBytes / sizeof(Bucket);
constexpr uint32_t kFew = 8;

// What a piece's salt decides, so that pieces which fill up together neither grow nor split in one batch:
// `least`, or up to `spread` more.
size_t by_salt(const CuckooMap& map, unsigned byte, size_t least, size_t spread) {
  return least + spread * (map.view().salt >> 8 * byte & 0xff) / 256;
}

// 0.95 to 0.97 of the slots.
size_t most_keys(const CuckooMap& map) {
  return by_salt(map, 0, map.slots() * 95 / 100, map.slots() * 2 / 100);
}

// Whole granules of the arena, or eights where the heap has the map; the smallest double.
uint32_t round_buckets(size_t buckets) {
  if (buckets <= kFew) return static_cast<uint32_t>(std::bit_ceil(std::max<size_t>(buckets, 1)));
  const size_t unit = buckets * sizeof(Bucket) < CuckooMap::kArenaBytes ? kFew : kStep;
  return static_cast<uint32_t>((buckets + unit - 1) / unit * unit);
}

// A quarter to five twelfths more.
uint32_t next_buckets(const CuckooMap& map) {
  if (map.buckets() < kFew) return 2 * map.buckets();
  return round_buckets(by_salt(map, 1, map.buckets() * 5 / 4, map.buckets() / 6));
}

// From here on it splits: half of the most, or more.
uint32_t most_buckets(const CuckooMap& map) {
  constexpr size_t kHalf = GrowingMap::kMaxBuckets / 2;
  return static_cast<uint32_t>(by_salt(map, 2, kHalf, kHalf));
}

// Buckets for `keys` at a load of 0.72: as after a step.
uint32_t buckets_for(size_t keys) { return round_buckets((keys * 100 + 359) / 360); }

}  // namespace

GrowingMap::GrowingMap(uint64_t seed, size_t expected_keys, Arena& arena) : seed_(seed), arena_(arena) {
  while (depth_ < kMaxDepth && buckets_for(expected_keys >> depth_) > kMaxBuckets) ++depth_;
  const uint32_t buckets = buckets_for(expected_keys >> depth_);
  for (uint32_t prefix = 0; prefix < uint32_t{1} << depth_; ++prefix) {
    pieces_.push_back({empty_map(buckets), prefix, depth_});
  }
  rebuild_directory();
}

GrowingMap::GrowingMap(const GrowingMap& other, Arena& arena)
    : seed_(other.seed_), depth_(other.depth_), salts_(other.salts_), arena_(arena) {
  for (const Piece& p : other.pieces_) {
    pieces_.push_back({std::make_unique<CuckooMap>(*p.map, arena_), p.prefix, p.depth});
  }
  rebuild_directory();
}

void GrowingMap::insert(uint64_t hash, uint32_t row) {
  for (;;) {
    CuckooMap& map = *piece_of(hash).map;
    if (map.size() < most_keys(map) && map.insert(hash, row)) return;
    // A split adds a piece, and must neither move the others nor fail half way.
    if (pieces_.size() == pieces_.capacity()) pieces_.reserve(2 * pieces_.size());
    grow(piece_of(hash));
  }
}

size_t GrowingMap::size() const {
  size_t total = 0;
  for (const Piece& p : pieces_) total += p.map->size();
  return total;
}

size_t GrowingMap::slots() const {
  size_t total = 0;
  for (const Piece& p : pieces_) total += p.map->slots();
  return total;
}

size_t GrowingMap::small_page_bytes() const {
  size_t total = directory_.capacity() * (sizeof(CuckooMap::View) + sizeof(uint32_t)) +
                 pieces_.capacity() * sizeof(Piece);
  for (const Piece& p : pieces_) total += sizeof(CuckooMap) + p.map->small_page_bytes();
  return total;
}

void GrowingMap::grow(Piece& piece) {
  ++version_;
  const uint32_t buckets = piece.map->buckets();
  const bool too_sparse = piece.map->size() < piece.map->slots() / 4 && buckets > 1;
  if (too_sparse) {
    enlarge(piece, buckets);  // an unlucky salt, not a lack of room
  } else if (next_buckets(*piece.map) > most_buckets(*piece.map) && piece.depth < kMaxDepth) {
    split(piece);
  } else {
    enlarge(piece, next_buckets(*piece.map));
  }
}

void GrowingMap::split(Piece& piece) {
  const unsigned depth = piece.depth + 1;
  const auto half = [depth](uint64_t hash) { return directory_bits(hash, depth) & 1; };
  size_t highs = 0;
  piece.map->for_each([&](uint64_t hash, uint32_t) { highs += half(hash); });
  auto [low_map, high_map] =
      rebuilt<2>(*piece.map, {buckets_for(piece.map->size() - highs), buckets_for(highs)}, half);
  Piece high{std::move(high_map), piece.prefix * 2 + 1, depth};
  Piece low{std::move(low_map), piece.prefix * 2, depth};
  const unsigned deepest = std::max(depth_, depth);
  directory_.reserve(size_t{1} << deepest);
  piece_index_.reserve(size_t{1} << deepest);
  piece = std::move(low);
  pieces_.push_back(std::move(high));
  depth_ = deepest;
  rebuild_directory();
}

void GrowingMap::enlarge(Piece& piece, uint32_t buckets) {
  piece.map = std::move(rebuilt<1>(*piece.map, {buckets}, [](uint64_t) { return size_t{0}; })[0]);
  rebuild_directory();
}

// A fresh salt each time: what collided before does not again.
std::unique_ptr<CuckooMap> GrowingMap::empty_map(uint32_t buckets) {
  return std::make_unique<CuckooMap>(buckets, mix(++salts_, seed_ ^ kGolden), arena_);
}

// First buckets first: a key that went to its second would only have taken the place of one that is at home
// there. Gives up on a size after a few salts.
template <size_t kParts, class Part>
std::array<std::unique_ptr<CuckooMap>, kParts> GrowingMap::rebuilt(const CuckooMap& from,
                                                                   std::array<uint32_t, kParts> buckets,
                                                                   Part part) {
  for (unsigned attempt = 1;; ++attempt) {
    std::array<std::unique_ptr<CuckooMap>, kParts> maps;
    for (size_t p = 0; p < kParts; ++p) maps[p] = empty_map(buckets[p]);
    std::vector<Entry> away;
    from.for_each([&](uint64_t hash, uint32_t row) {
      if (!maps[part(hash)]->insert_first(hash, row)) away.push_back({hash, row});
    });
    const auto place = [&](const Entry& e) { return maps[part(e.hash)]->insert(e.hash, e.row); };
    if (std::ranges::all_of(away, place)) return maps;
    if (attempt % 4) continue;
    for (uint32_t& b : buckets) b = round_buckets(b + std::max(b / 2, 1u));
  }
}

void GrowingMap::rebuild_directory() {
  directory_.resize(size_t{1} << depth_);
  piece_index_.resize(size_t{1} << depth_);
  for (uint32_t p = 0; p < pieces_.size(); ++p) {
    const size_t run = size_t{1} << (depth_ - pieces_[p].depth);
    const auto start = static_cast<std::ptrdiff_t>(pieces_[p].prefix * run);
    std::fill_n(directory_.begin() + start, run, pieces_[p].map->view());
    std::fill_n(piece_index_.begin() + start, run, p);
  }
}

}  // namespace freshet
