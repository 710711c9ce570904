#include "growing_map.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "refill.h"

namespace freshet {
namespace {

constexpr uint32_t kStep = Arena::kGranuleBytes / sizeof(Bucket);
constexpr uint32_t kFew = 8;

// Whole granules of the arena, or eights where the heap has the map; the smallest double.
uint32_t round_buckets(size_t buckets) {
  if (buckets <= kFew) return static_cast<uint32_t>(std::bit_ceil(std::max<size_t>(buckets, 1)));
  const size_t unit = buckets * sizeof(Bucket) < CuckooMap::kArenaBytes ? kFew : kStep;
  return static_cast<uint32_t>((buckets + unit - 1) / unit * unit);
}

// Buckets for `keys` at a load of 0.73: as after a step.
uint32_t buckets_for(size_t keys) { return round_buckets((keys * 100 + 364) / 365); }

}  // namespace

GrowingMap::GrowingMap(uint64_t seed, size_t expected_keys, Arena& arena) : seed_(seed), arena_(arena) {
  while (depth_ < kMaxDepth && buckets_for(expected_keys >> depth_) > kMaxBuckets) ++depth_;
  const uint32_t buckets = buckets_for(expected_keys >> depth_);
  for (uint32_t prefix = 0; prefix < uint32_t{1} << depth_; ++prefix) {
    pieces_.push_back(new_piece(std::make_unique<CuckooMap>(buckets, draw(), arena_), prefix, depth_));
  }
  rebuild_directory();
}

GrowingMap::GrowingMap(const GrowingMap& other, Arena& arena)
    : seed_(other.seed_), depth_(other.depth_), draws_(other.draws_), arena_(arena) {
  for (const Piece& p : other.pieces_) {
    pieces_.push_back({std::make_unique<CuckooMap>(*p.map, arena_), p.most_keys, p.prefix, p.depth});
  }
  rebuild_directory();
}

void GrowingMap::make_room(uint64_t hash) {
  // A split adds a piece, and must neither move the others nor fail half way.
  if (pieces_.size() == pieces_.capacity()) pieces_.reserve(2 * pieces_.size());
  grow(piece_of(hash));
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

// Keys that found no place collide, and would again: they get a fresh salt.
void GrowingMap::grow(Piece& piece) {
  ++version_;
  const CuckooMap& map = *piece.map;
  const uint64_t salt = map.size() < piece.most_keys ? draw() : map.view().salt;
  const uint32_t next = next_buckets(map.buckets());
  const bool too_sparse = map.size() < map.slots() / 4 && map.buckets() > 1;
  if (too_sparse) {
    enlarge(piece, map.buckets(), salt);  // an unlucky salt, not a lack of room
  } else if (piece.depth < kMaxDepth && next > draw_from(kMaxBuckets / 2, kMaxBuckets / 2)) {
    split(piece, salt);
  } else {
    enlarge(piece, next, salt);
  }
}

void GrowingMap::split(Piece& piece, uint64_t salt) {
  const unsigned depth = piece.depth + 1;
  const auto half = [depth](uint64_t hash) { return directory_bits(hash, depth) & 1; };
  size_t highs = 0;
  piece.map->for_each([&](uint64_t hash, uint32_t) { highs += half(hash); });
  auto [low_map, high_map] =
      rebuilt<2>(*piece.map, salt, {buckets_for(piece.map->size() - highs), buckets_for(highs)}, half);
  Piece high = new_piece(std::move(high_map), piece.prefix * 2 + 1, depth);
  Piece low = new_piece(std::move(low_map), piece.prefix * 2, depth);
  const unsigned deepest = std::max(depth_, depth);
  directory_.reserve(size_t{1} << deepest);
  piece_index_.reserve(size_t{1} << deepest);
  piece = std::move(low);
  pieces_.push_back(std::move(high));
  depth_ = deepest;
  rebuild_directory();
}

void GrowingMap::enlarge(Piece& piece, uint32_t buckets, uint64_t salt) {
  auto map = std::move(rebuilt<1>(*piece.map, salt, {buckets}, [](uint64_t) { return size_t{0}; })[0]);
  piece = new_piece(std::move(map), piece.prefix, piece.depth);
  rebuild_directory();
}

uint64_t GrowingMap::draw() { return mix(++draws_, seed_ ^ kGolden); }

size_t GrowingMap::draw_from(size_t least, size_t spread) { return least + spread * (draw() >> 56) / 256; }

GrowingMap::Piece GrowingMap::new_piece(std::unique_ptr<CuckooMap> map, uint32_t prefix, unsigned depth) {
  const size_t slots = map->slots();
  return {std::move(map), draw_from(slots * 90 / 100, slots * 3 / 100), prefix, depth};
}

uint32_t GrowingMap::next_buckets(uint32_t buckets) {
  if (buckets < kFew) return 2 * buckets;
  return round_buckets(draw_from(buckets * size_t{6} / 5, buckets / 10));
}

// With the salt it had, first buckets come in the order of the old ones. Gives up on a salt at once, and on a
// size after a few.
template <size_t kParts, class Part>
std::array<std::unique_ptr<CuckooMap>, kParts> GrowingMap::rebuilt(const CuckooMap& from, uint64_t salt,
                                                                   std::array<uint32_t, kParts> buckets,
                                                                   Part part) {
  for (unsigned attempt = 1;; ++attempt) {
    std::array<std::unique_ptr<CuckooMap>, kParts> maps;
    for (size_t p = 0; p < kParts; ++p) maps[p] = std::make_unique<CuckooMap>(buckets[p], salt, arena_);
    std::vector<Refill> refills;
    refills.reserve(kParts);
    for (const auto& map : maps) refills.emplace_back(*map);
    from.for_each([&](uint64_t hash, uint32_t row) { refills[part(hash)].add(hash, row); });
    if (std::ranges::all_of(refills, &Refill::finish)) return maps;
    salt = draw();
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
