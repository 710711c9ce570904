#include "cuckoo_map.h"

#include <bit>
#include <cstring>
#include <new>

namespace freshet {
namespace {

unsigned free_slot(const Bucket& bucket) { return static_cast<unsigned>(std::countr_one(bucket.occupied)); }

}  // namespace

CuckooMap::CuckooMap(uint32_t buckets, uint64_t seed, uint64_t salt, Arena& arena)
    : buckets_(buckets), seed_(seed), salt_(salt), arena_(arena) {
  allocate();
  std::memset(static_cast<void*>(data_), 0, bytes());
}

CuckooMap::CuckooMap(const CuckooMap& other, Arena& arena)
    : buckets_(other.buckets_), seed_(other.seed_), salt_(other.salt_), size_(other.size_), arena_(arena) {
  allocate();
  std::memcpy(static_cast<void*>(data_), other.data_, bytes());
}

CuckooMap::~CuckooMap() {
  if (uses_arena()) {
    arena_.free(data_, bytes());
  } else {
    ::operator delete (data_, std::align_val_t{alignof(Bucket)});
  }
}

void CuckooMap::allocate() {
  void* memory =
      uses_arena() ? arena_.allocate(bytes()) : ::operator new (bytes(), std::align_val_t{alignof(Bucket)});
  data_ = static_cast<Bucket*>(memory);
}

uint32_t CuckooMap::find(int64_t key, uint64_t hash) const {
  const Choice choice = choose(hash);
  const Bucket& first = data_[choice.first];
  const uint32_t row = first.find(key);
  if (row != kNoRow || first.away == 0) return row;
  return data_[choice.second].find(key);
}

bool CuckooMap::insert(int64_t key, uint64_t hash, uint32_t row) {
  const Choice choice = choose(hash);
  uint32_t target = choice.first;
  if (data_[choice.first].full()) {
    const std::optional<uint32_t> room = make_room(choice);
    if (!room) return false;
    target = *room;
  }
  put(target, free_slot(data_[target]), key, row);
  if (target != choice.first) ++data_[choice.first].away;
  ++size_;
  return true;
}

uint32_t CuckooMap::erase(int64_t key, uint64_t hash) {
  const Choice choice = choose(hash);
  for (const uint32_t index : {choice.first, choice.second}) {
    Bucket& bucket = data_[index];
    const int slot = bucket.slot_of(key);
    if (slot < 0) continue;
    bucket.occupied &= ~(1u << slot);
    if (index != choice.first) --data_[choice.first].away;
    --size_;
    return bucket.rows[slot];
  }
  return kNoRow;
}

size_t CuckooMap::small_page_bytes() const { return uses_arena() && arena_.is_huge(data_) ? 0 : bytes(); }

void CuckooMap::put(uint32_t bucket, unsigned slot, int64_t key, uint32_t row) {
  data_[bucket].keys[slot] = key;
  data_[bucket].rows[slot] = row;
  data_[bucket].occupied |= 1u << slot;
}

uint32_t CuckooMap::other_bucket(int64_t key, uint32_t bucket, bool* is_first) const {
  const Choice choice = choose(mix(static_cast<uint64_t>(key), seed_));
  *is_first = bucket == choice.first;
  return *is_first ? choice.second : choice.first;
}

// Breadth first, so that the shortest chain of moves wins; bounded, so that an insert is.
std::optional<uint32_t> CuckooMap::make_room(Choice choice) {
  if (!data_[choice.second].full()) return choice.second;
  Path nodes;
  size_t used = 0;
  nodes[used++] = {choice.first, -1, 0};
  nodes[used++] = {choice.second, -1, 0};
  for (size_t n = 0; n < used; ++n) {
    for (unsigned slot = 0; slot < kSlots && used < kSearchNodes; ++slot) {
      bool is_first = false;
      const uint32_t other = other_bucket(data_[nodes[n].bucket].keys[slot], nodes[n].bucket, &is_first);
      nodes[used] = {other, static_cast<int16_t>(n), static_cast<uint8_t>(slot)};
      if (!data_[other].full()) return shift_along(nodes, static_cast<int16_t>(used));
      ++used;
    }
  }
  return std::nullopt;
}

// Moves one key along every edge of the path, the last one first: at no time is a key in no bucket.
uint32_t CuckooMap::shift_along(const Path& nodes, int16_t last) {
  const auto node = [&nodes](int16_t index) -> const Node& { return nodes[static_cast<size_t>(index)]; };
  int16_t at = last;
  while (node(at).parent >= 0) {
    const int16_t parent = node(at).parent;
    move_key(node(parent).bucket, node(at).slot, node(at).bucket);
    at = parent;
  }
  return node(at).bucket;
}

void CuckooMap::move_key(uint32_t from, unsigned slot, uint32_t to) {
  Bucket& source = data_[from];
  bool was_first = false;
  other_bucket(source.keys[slot], from, &was_first);
  put(to, free_slot(data_[to]), source.keys[slot], source.rows[slot]);
  source.occupied &= ~(1u << slot);
  if (was_first) {
    ++source.away;
  } else {
    --data_[to].away;
  }
}

}  // namespace freshet
