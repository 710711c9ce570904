#include "draws.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hash.h"

namespace freshet::bench {
namespace {

// Any int64, so that nothing gains by the order of ids.
int64_t id_of(uint64_t rank) { return static_cast<int64_t>(mix(rank, 1)); }

// A bijection of [0, rows): without it, the most frequent rows would be neighbours.
uint32_t scatter(size_t rank, size_t rows) {
  constexpr uint64_t kPrime = 4294967291;
  return static_cast<uint32_t>(rank * kPrime % rows);
}

size_t draw_rank(Distribution distribution, size_t rows, std::mt19937_64& random) {
  if (distribution == Distribution::kUniform) return random() % rows;
  // The logarithm of the rank is uniform.
  const double share = std::uniform_real_distribution(0.0, 1.0)(random);
  const double rank = std::exp(share * std::log(static_cast<double>(rows) + 1.0));
  return scatter(std::min(rows, static_cast<size_t>(rank)) - 1, rows);
}

void append(std::vector<Batch>& batches, uint32_t rank, uint64_t offset) {
  if (batches.empty() || batches.back().ids.size() == kBatch) batches.emplace_back();
  batches.back().ranks.push_back(rank);
  batches.back().ids.push_back(id_of(rank + offset));
}

}  // namespace

std::vector<Batch> draw(Distribution distribution, size_t rows, size_t batches, bool misses, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Batch> drawn;
  for (size_t i = 0; i < batches * kBatch; ++i) {
    append(drawn, static_cast<uint32_t>(draw_rank(distribution, rows, random)), misses ? rows : 0);
  }
  return drawn;
}

std::vector<Batch> every_rank(size_t rows, uint64_t seed) {
  std::vector<uint32_t> ranks(rows);
  std::iota(ranks.begin(), ranks.end(), 0u);
  std::shuffle(ranks.begin(), ranks.end(), std::mt19937_64(seed));
  std::vector<Batch> drawn;
  for (const uint32_t rank : ranks) append(drawn, rank, 0);
  return drawn;
}

}  // namespace freshet::bench
