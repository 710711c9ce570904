#include "segment.h"

namespace freshet {

Segment::Segment(const Segment& other, Arena& arena, Arena& list_arena, RowSpace& space)
    : map(other.map, arena),
      rows(other.rows, space),
      touched(other.touched, arena, list_arena),
      cut(other.cut.settled()) {
  if (!other.cut.pending()) return;
  map.for_each([this](uint64_t, uint32_t row) { cut.settle(rows.meta(row)); });
}

void Segment::note_change(int64_t id, uint64_t hash, uint32_t row) {
  cut.preserve(hash, row, rows);
  touched.touch(id, row, rows.meta(row));
}

bool Segment::remove(int64_t id, uint64_t hash, bool touch) {
  const uint32_t row = map.find(hash);
  if (row == kNoRow) return false;
  cut.preserve(hash, row, rows);
  if (touch) touched.remove(id);
  map.erase(hash);
  rows.free(row);
  return true;
}

}  // namespace freshet
