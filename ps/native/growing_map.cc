#include "growing_map.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

namespace freshet {
namespace {

constexpr uint32_t kStep = Arena::kGranuleBytes / sizeof(Bucket);

// Between 0.83 and 0.92 of the slots, by the salt: pieces that filled up together do not all grow in one
// batch.
size_t most_keys(const CuckooMap& map) {
  const size_t slack = map.slots() / 12;
  return map.slots() - slack - slack * (map.view().salt >> 56) / 256;
}

// Small maps double; larger ones take whole granules.
uint32_t round_buckets(size_t buckets) {
  if (buckets <= kStep) return static_cast<uint32_t>(std::bit_ceil(std::max<size_t>(buckets, 1)));
  return static_cast<uint32_t>((buckets + kStep - 1) / kStep * kStep);
}

// Buckets for `keys` at a load of 0.72: after a split, room for the keys of the next doubling's first step.
uint32_t buckets_for(size_t keys) { return round_buckets((keys * 100 + 287) / 288); }

}  // namespace

GrowingMap::GrowingMap(uint64_t seed, size_t expected_keys, Arena& arena) : seed_(seed), arena_(arena) {
  while (depth_ < kMaxDepth && buckets_for(expected_keys >> depth_) > kMaxBuckets) ++depth_;
  const uint32_t buckets = buckets_for(expected_keys >> depth_);
  for (uint32_t prefix = 0; prefix < uint32_t{1} << depth_; ++prefix) {
    pieces_.push_back({build({}, buckets), prefix, depth_});
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
  } else if (buckets >= kMaxBuckets && piece.depth < kMaxDepth) {
    split(piece);
  } else {
    enlarge(piece, buckets < kStep ? 2 * buckets : round_buckets(buckets + buckets / 5));
  }
}

void GrowingMap::split(Piece& piece) {
  const unsigned depth = piece.depth + 1;
  std::vector<Entry> halves[2];
  for (auto& half : halves) half.reserve(piece.map->size() * 5 / 8);
  piece.map->for_each([&](uint64_t hash, uint32_t row) {
    halves[directory_bits(hash, depth) & 1].push_back({hash, row});
  });
  Piece high{build(halves[1], buckets_for(halves[1].size())), piece.prefix * 2 + 1, depth};
  Piece low{build(halves[0], buckets_for(halves[0].size())), piece.prefix * 2, depth};
  const unsigned deepest = std::max(depth_, depth);
  directory_.reserve(size_t{1} << deepest);
  piece_index_.reserve(size_t{1} << deepest);
  piece = std::move(low);
  pieces_.push_back(std::move(high));
  depth_ = deepest;
  rebuild_directory();
}

void GrowingMap::enlarge(Piece& piece, uint32_t buckets) {
  std::vector<Entry> entries;
  entries.reserve(piece.map->size());
  piece.map->for_each([&](uint64_t hash, uint32_t row) { entries.push_back({hash, row}); });
  piece.map = build(entries, buckets);
  rebuild_directory();
}

// First buckets first: a key that went to its second would only have taken the place of one that is at home
// there. A fresh salt each time: what collided before does not again. Gives up on a size after a few salts.
std::unique_ptr<CuckooMap> GrowingMap::build(const std::vector<Entry>& entries, uint32_t buckets) {
  for (unsigned attempt = 1;; ++attempt) {
    auto map = std::make_unique<CuckooMap>(buckets, mix(++salts_, seed_ ^ kGolden), arena_);
    std::vector<Entry> away;
    std::ranges::copy_if(entries, std::back_inserter(away),
                         [&map](const Entry& e) { return !map->insert_first(e.hash, e.row); });
    if (std::ranges::all_of(away, [&map](const Entry& e) { return map->insert(e.hash, e.row); })) return map;
    if (attempt % 4 == 0) buckets = round_buckets(buckets + std::max(buckets / 2, 1u));
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
