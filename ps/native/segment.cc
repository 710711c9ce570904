#include "segment.h"

namespace freshet {

uint32_t Segment::insert(uint64_t hash) {
  const uint32_t row = rows.allocate();
  try {
    map.insert(hash, row);
  } catch (...) {
    rows.free(row);
    throw;
  }
  return row;
}

bool Segment::remove(int64_t id, uint64_t hash, bool track_touched) {
  const uint32_t row = map.erase(hash);
  if (row == kNoRow) return false;
  if (track_touched) touched.remove(id);
  rows.free(row);
  return true;
}

}  // namespace freshet
