// Address space from the system, in units of huge pages.
#pragma once

#include <cstddef>

namespace freshet {

inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kHugePageBytes = size_t{2} << 20;

constexpr size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Whether madvise(MADV_HUGEPAGE) has an effect here.
bool system_gives_huge_pages();
size_t physical_memory_bytes();

// Address space without memory, aligned to huge pages; null if the system refuses. `bytes` a multiple of
// kHugePageBytes.
std::byte* reserve_pages(size_t bytes);
// Gives a part of it memory, zeroed, page by page as it is touched. Throws std::bad_alloc.
void commit_pages(std::byte* start, size_t bytes);
// No effect where the system has none.
void ask_for_huge_pages(std::byte* start, size_t bytes);
// Gives its memory back until it is touched again; its contents are lost.
void discard_pages(std::byte* start, size_t bytes);
void release_pages(std::byte* start, size_t bytes);

}  // namespace freshet
