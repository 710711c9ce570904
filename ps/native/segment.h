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
  // `lists_touched`: of a table that is trained.
  Segment(uint64_t seed, size_t expected_keys, Arena& arena, Arena& list_arena, RowSpace& space,
          double first_slab, bool lists_touched)
      : map(seed, expected_keys, arena),
        rows(space, first_slab),
        touched(lists_touched, seed, arena, list_arena) {}
  Segment(const Segment& other, Arena& arena, Arena& list_arena, RowSpace& space);

  // The row of an absent key; its values are undefined.
  uint32_t insert(uint64_t hash);
  // Before a row changes: lists it as touched, and keeps it for a cut as it is. Mostly there is nothing to
  // do, which one comparison tells.
  void before_change(int64_t id, uint64_t hash, uint32_t row) {
    const uint32_t settled = touched.used() | static_cast<uint32_t>(cut.settled()) << RowMeta::kMarks;
    RowMeta& meta = rows.meta(row);
    if (meta.flags() == settled) return;
    if (cut.pending() || !touched.touch_simply(id, row, meta)) note_change(id, hash, row);
  }
  // False when it was absent. `touch`: it counts as a change.
  bool remove(int64_t id, uint64_t hash, bool touch);
  size_t small_page_bytes() const {
    return map.small_page_bytes() + rows.small_page_bytes() + touched.small_page_bytes() + cut.bytes();
  }

  // Whoever takes the lock writes to its line: what readers need is on others.
  alignas(64) mutable std::shared_mutex mutex;
  alignas(64) GrowingMap map;
  RowStore rows;
  TouchedSets touched;
  PendingCut cut;

 private:
  void note_change(int64_t id, uint64_t hash, uint32_t row);
};

inline uint32_t Segment::insert(uint64_t hash) {
  touched.make_room();
  const uint32_t row = rows.allocate();
  try {
    map.insert(hash, row);
  } catch (...) {
    rows.free(row);
    throw;
  }
  cut.settle(rows.meta(row));
  return row;
}

}  // namespace freshet
