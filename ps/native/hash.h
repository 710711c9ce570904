// The two mixing functions everything else is built on. Their values are golden: initial rows depend on them.
#pragma once

#include <cstdint>

namespace freshet {

inline constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

// A bijection of 64 bits for each seed: no two keys ever share a hash.
[[gnu::always_inline]] inline uint64_t mix(uint64_t key, uint64_t seed) {
  uint64_t x = key ^ seed;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  x ^= x >> 32;
  return x;
}

// The key that `mix` made this of.
inline uint64_t unmix(uint64_t hash, uint64_t seed) {
  constexpr uint64_t kInverse = 0xcfee444d8b59a89b;  // of the multiplier, modulo 2^64
  static_assert(kInverse * 0xd6e8feb86659fd93 == 1);
  uint64_t x = hash ^ (hash >> 32);
  x *= kInverse;
  x ^= x >> 32;
  x *= kInverse;
  x ^= x >> 32;
  return x ^ seed;
}

// A second, cheaper mixing of an already mixed hash. Both halves of the result are usable.
inline uint64_t remix(uint64_t hash, uint64_t salt) {
  uint64_t x = (hash ^ salt) * kGolden;
  return x ^ (x >> 32);
}

// Its upper half, which needs less.
inline uint32_t remix_high(uint64_t hash, uint64_t salt) {
  return static_cast<uint32_t>((hash ^ salt) * kGolden >> 32);
}

// Maps 32 random bits to [0, n) by multiplication: n need not be a power of two.
inline uint32_t scale_to(uint32_t bits, uint32_t n) {
  return static_cast<uint32_t>((static_cast<uint64_t>(bits) * n) >> 32);
}

}  // namespace freshet
