#include "huge_pages.h"

#include <cstring>

#include "contender.h"
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

Rows::Rows(size_t most_rows)
    : bytes_(most_rows * kRowFloats * sizeof(float)), data_(static_cast<float*>(map_huge(bytes_))) {}

Rows::~Rows() { unmap_huge(data_, bytes_); }

float* Rows::operator[](size_t row) const { return data_ + row * kRowFloats; }

}  // namespace freshet::bench
