#include "cuckoo_map.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "prefetch.h"

namespace freshet {

CuckooMap::CuckooMap(uint32_t buckets, uint64_t salt, Arena& arena)
    : view_{nullptr, nullptr, salt, buckets}, full_(new uint64_t[full_words()]()), arena_(arena) {
  allocate();
  std::memset(static_cast<void*>(view_.data), 0, bytes());
}

CuckooMap::CuckooMap(const CuckooMap& other, Arena& arena)
    : view_(other.view_), full_(new uint64_t[full_words()]), size_(other.size_), arena_(arena) {
  allocate();
  std::memcpy(static_cast<void*>(view_.data), other.view_.data, bytes());
  std::copy_n(other.full_.get(), full_words(), full_.get());
}

CuckooMap::~CuckooMap() {
  if (uses_arena()) {
    arena_.free(view_.data, bytes());
  } else {
    ::operator delete (view_.data, std::align_val_t{alignof(Bucket)});
  }
}

void CuckooMap::allocate() {
  void* memory =
      uses_arena() ? arena_.allocate(bytes()) : ::operator new (bytes(), std::align_val_t{alignof(Bucket)});
  view_.data = static_cast<Bucket*>(memory);
  view_.full = full_.get();
}

uint32_t CuckooMap::erase(uint64_t hash) {
  const Choice choice = view_.choose(hash);
  for (const uint32_t index : {choice.first, choice.second}) {
    Bucket& bucket = view_.data[index];
    const unsigned match = bucket.match_of(hash);
    if (!match) continue;
    vacate(index, match);
    if (index != choice.first) --view_.data[choice.first].away;
    --size_;
    return bucket.rows[std::countr_zero(match)];
  }
  return kNoRow;
}

size_t CuckooMap::small_page_bytes() const {
  return full_words() * sizeof(uint64_t) + (uses_arena() && arena_.is_huge(view_.data) ? 0 : bytes());
}

// Breadth first, so that the shortest chain wins, which passes no bucket twice. Bounded, as an insert has to
// be.
uint32_t CuckooMap::search_room(Choice choice) {
  Path nodes;
  size_t used = 0;
  nodes[used++] = {choice.first, -1, 0};
  nodes[used++] = {choice.second, -1, 0};
  for (size_t n = 0; n < used; ++n) {
    const uint32_t index = nodes[n].bucket;
    for (unsigned slot = 0; slot < kSlots && used < kSearchNodes; ++slot) {
      const uint32_t other = view_.other(view_.data[index].hashes[slot], index);
      nodes[used] = {other, static_cast<int16_t>(n), static_cast<uint8_t>(slot)};
      if (!view_.is_full(other)) return shift_along(nodes, static_cast<int16_t>(used));
      ++used;
    }
  }
  return kNoBucket;
}

// Moves one key along every edge of the path, the last one first: at no time is a key in no bucket.
uint32_t CuckooMap::shift_along(const Path& nodes, int16_t last) {
  const auto node = [&nodes](int16_t index) -> const Node& { return nodes[static_cast<size_t>(index)]; };
  int16_t at = last;
  while (node(at).parent >= 0) {
    const int16_t parent = node(at).parent;
    move_key({node(parent).bucket, node(at).slot, node(at).bucket});
    at = parent;
  }
  return node(at).bucket;
}

}  // namespace freshet
