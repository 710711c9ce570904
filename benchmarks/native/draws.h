// The ids of batches: which rank, and which id has this rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "contender.h"

namespace freshet::bench {

enum class Distribution { kUniform, kZipf };

// Ranks below `rows`, drawn with replacement; Zipf with exponent 1, its most frequent rows anywhere.
// `misses`: ids of the same ranks that are in no table.
std::vector<Batch> draw(Distribution distribution, size_t rows, size_t batches, bool misses, uint64_t seed);
// Every rank once, in random order.
std::vector<Batch> every_rank(size_t rows, uint64_t seed);

}  // namespace freshet::bench
