// A set of ids that grows piece by piece, as the map does: no insert moves all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "arena.h"
#include "growing_map.h"
#include "hash.h"

namespace freshet {

// Costs nothing while it is empty. Not thread-safe.
class IdSet {
 public:
  IdSet(uint64_t seed, Arena& arena) : seed_(seed), arena_(&arena) {}
  IdSet(const IdSet& other, Arena& arena)
      : seed_(other.seed_),
        arena_(&arena),
        map_(other.map_ ? std::make_unique<GrowingMap>(*other.map_, arena) : nullptr) {}

  bool is_unused() const { return !map_; }
  bool contains(int64_t id) const { return map_ && map_->find(hash_of(id)) != kNoRow; }
  // Throws std::bad_alloc.
  void insert(int64_t id) {
    if (contains(id)) return;
    if (!map_) map_ = std::make_unique<GrowingMap>(seed_, 0, *arena_);
    map_->insert(hash_of(id), 0);
  }
  // Gives the memory back.
  void clear() { map_.reset(); }

  size_t size() const { return map_ ? map_->size() : 0; }
  template <class Visit>
  void for_each(Visit visit) const {
    if (!map_) return;
    map_->for_each([&](uint64_t hash, uint32_t) { visit(static_cast<int64_t>(unmix(hash, seed_))); });
  }
  size_t small_page_bytes() const { return map_ ? sizeof(*map_) + map_->small_page_bytes() : 0; }

 private:
  uint64_t hash_of(int64_t id) const { return mix(static_cast<uint64_t>(id), seed_); }

  uint64_t seed_;
  Arena* arena_;
  std::unique_ptr<GrowingMap> map_;
};

}  // namespace freshet
