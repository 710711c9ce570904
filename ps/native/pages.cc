#include "pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <new>
#include <string_view>

namespace freshet {

bool system_gives_huge_pages() {
  static const bool answer = [] {
    std::FILE* file = std::fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (!file) return false;
    char text[64] = {};
    const size_t length = std::fread(text, 1, sizeof(text) - 1, file);
    std::fclose(file);
    return length > 0 && std::string_view(text, length).find("[never]") == std::string_view::npos;
  }();
  return answer;
}

size_t physical_memory_bytes() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
}

std::byte* reserve_pages(size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* raw = mmap(nullptr, bytes + kHugePageBytes, PROT_NONE, kFlags, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::byte*>(raw);
  const size_t before = (kHugePageBytes - reinterpret_cast<uintptr_t>(raw) % kHugePageBytes) % kHugePageBytes;
  if (before) munmap(start, before);
  munmap(start + before + bytes, kHugePageBytes - before);
  return start + before;
}

void commit_pages(std::byte* start, size_t bytes) {
  if (mprotect(start, bytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
}

void ask_for_huge_pages(std::byte* start, size_t bytes) {
  if (system_gives_huge_pages()) madvise(start, bytes, MADV_HUGEPAGE);
}

void discard_pages(std::byte* start, size_t bytes) { madvise(start, bytes, MADV_DONTNEED); }

void release_pages(std::byte* start, size_t bytes) { munmap(start, bytes); }

}  // namespace freshet
