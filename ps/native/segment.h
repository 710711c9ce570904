// The unit of locking: a map, the rows it points to, and what changed of them.
#pragma once

#include <shared_mutex>

#include "arena.h"
#include "growing_map.h"
#include "pending_cut.h"
#include "row_store.h"
#include "touched_set.h"

namespace freshet {

// Members are guarded by `mutex`: shared to read, exclusive to change. Rows change only under the exclusive
// lock, so a reader sees embedding and state of one step.
struct Segment {
  Segment(uint64_t seed, size_t expected_keys, Arena& arena, RowSpace& space, double first_slab)
      : map(seed, expected_keys, arena), rows(space, first_slab) {}
  Segment(const Segment& other, Arena& arena, RowSpace& space);

  // The row of an absent key; its values are undefined.
  uint32_t insert(uint64_t hash);
  // False when it was absent.
  bool remove(int64_t id, uint64_t hash, bool track_touched);
  size_t small_page_bytes() const {
    return map.small_page_bytes() + rows.small_page_bytes() + touched.bytes() + cut.bytes();
  }

  mutable std::shared_mutex mutex;
  GrowingMap map;
  RowStore rows;
  TouchedSets touched;
  PendingCut cut;
};

}  // namespace freshet
