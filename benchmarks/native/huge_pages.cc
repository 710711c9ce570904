#include "huge_pages.h"

#include <cstring>

#include "pages.h"

namespace freshet::bench {

void* map_huge(size_t bytes) {
  const size_t rounded = round_up(bytes, kHugePageBytes);
  std::byte* memory = reserve_pages(rounded);
  if (!memory) throw std::bad_alloc();
  commit_pages(memory, rounded);
  ask_for_huge_pages(memory, rounded);
  return memory;
}

void unmap_huge(void* memory, size_t bytes) {
  release_pages(static_cast<std::byte*>(memory), round_up(bytes, kHugePageBytes));
}

void warm_memory(size_t bytes) {
  void* memory = map_huge(bytes);
  std::memset(memory, 1, bytes);
  unmap_huge(memory, bytes);
}

}  // namespace freshet::bench
