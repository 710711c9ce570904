#include "touched_set.h"

#include <algorithm>
#include <bit>
#include <span>

#include "prefetch.h"

namespace freshet {

TouchedSets::TouchedSets(bool lists, uint64_t seed, Arena& arena, Arena& list_arena)
    : used_(lists),
      sets_{Set{ChunkedList<Entry>(list_arena), {seed, arena}},
            Set{ChunkedList<Entry>(list_arena), {seed, arena}},
            Set{ChunkedList<Entry>(list_arena), {seed, arena}}} {
  static_assert(kMarks == 3);
}

TouchedSets::TouchedSets(const TouchedSets& other, Arena& arena, Arena& list_arena)
    : used_(other.used_),
      sets_{Set{{other.sets_[0].entries, list_arena}, {other.sets_[0].removed, arena}},
            Set{{other.sets_[1].entries, list_arena}, {other.sets_[1].removed, arena}},
            Set{{other.sets_[2].entries, list_arena}, {other.sets_[2].removed, arena}}} {}

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
  set.removed.for_each([&ids](int64_t id) { ids.push_back(id); });
}

// A listed row may be another id's by now. Then that id is listed or removed as well, so no bit is lost.
void TouchedSets::clear(unsigned mark, RowStore& rows) {
  constexpr size_t kAhead = 16;
  Set& set = sets_[mark];
  set.entries.for_each_span([&](std::span<const Entry> some) {
    for (size_t i = 0; i < some.size(); ++i) {
      prefetch(&rows.meta(some[std::min(i + kAhead, some.size() - 1)].row), sizeof(RowMeta));
      RowMeta& meta = rows.meta(some[i].row);
      meta.set_listed(meta.listed() & ~(1u << mark));
    }
  });
  set.entries.clear();
  set.removed.clear();
}

size_t TouchedSets::small_page_bytes() const {
  size_t total = 0;
  for (const Set& set : sets_) total += set.entries.heap_bytes() + set.removed.small_page_bytes();
  return total;
}

void TouchedSets::touch(int64_t id, uint32_t row, RowMeta& meta) {
  make_room();
  uint32_t listed = meta.listed();
  for (unsigned m = 0; m < kMarks; ++m) {
    Set& set = sets_[m];
    if (!uses(m) || listed >> m & 1) continue;
    if (set.removed.contains(id)) continue;
    set.entries.push_back({id, row});
    listed |= 1u << m;
  }
  meta.set_listed(listed);
}

}  // namespace freshet
