#include "huge_pages.h"

#include <algorithm>
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

WarmMemory::WarmMemory(size_t bytes)
    : bytes_(round_up(bytes, kHugePageBytes)), memory_(static_cast<std::byte*>(map_huge(bytes_))) {
  std::memset(memory_, 1, bytes_);
}

WarmMemory::~WarmMemory() { unmap_huge(memory_, bytes_); }

void WarmMemory::give_back(size_t bytes) {
  std::lock_guard lock(mutex_);
  const size_t end = std::min(bytes_, bytes / kHugePageBytes * kHugePageBytes);
  if (end <= given_back_) return;
  discard_pages(memory_ + given_back_, end - given_back_);
  given_back_ = end;
}

}  // namespace freshet::bench
