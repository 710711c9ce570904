// How the table asks for memory before it needs it.
#pragma once

#include <algorithm>
#include <cstddef>

namespace freshet {

inline constexpr size_t kLineBytes = 64;
inline constexpr size_t kMostPrefetchedBytes = 512;  // the hardware goes on from there

// Into the second-level cache: the first level can wait for far fewer lines at once, and stalls when it is
// asked for more. Inlined by force, here and wherever these are called: GCC takes a function that only
// prefetches for one without effect, and drops the call.
[[gnu::always_inline]] inline void prefetch(const void* memory) { __builtin_prefetch(memory, 0, 2); }

// Of memory that begins with a line.
template <size_t kLines>
[[gnu::always_inline]] inline void prefetch_lines(const void* memory) {
  for (size_t line = 0; line < kLines; ++line) {
    prefetch(static_cast<const std::byte*>(memory) + line * kLineBytes);
  }
}

// At least one byte. Where it begins decides nothing that a processor would have to guess: a line twice is
// cheaper.
[[gnu::always_inline]] inline void prefetch(const void* memory, size_t bytes) {
  const auto* const start = static_cast<const std::byte*>(memory);
  bytes = std::min(bytes, kMostPrefetchedBytes);
  for (size_t at = 0; at < bytes; at += kLineBytes) prefetch(start + at);
  prefetch(start + bytes - 1);
}

}  // namespace freshet
