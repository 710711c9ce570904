// How the table asks for memory before it needs it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace freshet {

inline constexpr size_t kLineBytes = 64;
inline constexpr size_t kMostPrefetchedBytes = 512;  // the hardware goes on from there

// Into the second-level cache: the first level can wait for far fewer lines at once, and stalls when it is
// asked for more. Inlined by force, here and wherever these are called: GCC takes a function that only
// prefetches for one without effect, and drops the call.
[[gnu::always_inline]] inline void prefetch(const void* memory) { __builtin_prefetch(memory, 0, 2); }

[[gnu::always_inline]] inline void prefetch(const void* memory, size_t bytes) {
  const auto start = reinterpret_cast<uintptr_t>(memory) & ~(kLineBytes - 1);
  const auto end = reinterpret_cast<uintptr_t>(memory) + std::min(bytes, kMostPrefetchedBytes);
  uintptr_t line = start;
  do {
    prefetch(reinterpret_cast<const void*>(line));
    line += kLineBytes;
  } while (line < end);
}

}  // namespace freshet
