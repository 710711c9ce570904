#include "touched_set.h"

#include <bit>

namespace freshet {

unsigned TouchedSets::unused() const { return static_cast<unsigned>(std::countr_one(used_)); }

void TouchedSets::end(unsigned mark, RowStore& rows) {
  clear(mark, rows);
  used_ &= ~(1u << mark);
}

void TouchedSets::make_room() {
  for (unsigned m = 0; m < kMarks; ++m) {
    if (uses(m)) sets_[m].entries.make_room();
  }
}

void TouchedSets::remove(int64_t id) {
  for (unsigned m = 0; m < kMarks; ++m) {
    if (uses(m)) sets_[m].removed.insert(id);
  }
}

void TouchedSets::append_to(std::vector<int64_t>& ids, unsigned mark) const {
  const Set& set = sets_[mark];
  set.entries.for_each([&](const Entry& entry) {
    if (!set.removed.contains(entry.id)) ids.push_back(entry.id);
  });
  ids.insert(ids.end(), set.removed.begin(), set.removed.end());
}

// A listed row may be another id's by now. Then that id is listed or removed as well, so no bit is lost.
void TouchedSets::clear(unsigned mark, RowStore& rows) {
  Set& set = sets_[mark];
  set.entries.for_each([&](const Entry& entry) {
    RowMeta& meta = rows.meta(entry.row);
    meta.set_listed(meta.listed() & ~(1u << mark));
  });
  set = Set();  // gives the memory back, as clear() does not
}

size_t TouchedSets::bytes() const {
  size_t total = 0;
  for (const Set& set : sets_) {
    total += set.entries.bytes() + set.removed.size() * 4 * sizeof(void*) +
             set.removed.bucket_count() * sizeof(void*);
  }
  return total;
}

void TouchedSets::touch(int64_t id, uint32_t row, RowStore& rows) {
  RowMeta& meta = rows.meta(row);
  const uint32_t missing = used_ & ~meta.listed();
  if (missing) make_room();
  for (unsigned m = 0; m < kMarks; ++m) {
    Set& set = sets_[m];
    if (!(missing >> m & 1) || (!set.removed.empty() && set.removed.contains(id))) continue;
    set.entries.push_back({id, row});
    meta.set_listed(meta.listed() | 1u << m);
  }
}

}  // namespace freshet
