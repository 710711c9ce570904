// The ids that changed since each of a few marks. It has no fixed size and drops nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "arena.h"
#include "chunked_list.h"
#include "id_set.h"
#include "row_store.h"

namespace freshet {

// A row carries a bit per mark while it is listed for it, so an update of a listed row costs nothing more. A
// removed row has no bits to carry: its id goes to a set of its own. Each id is stored at most twice per
// mark. Not thread-safe.
class TouchedSets {
 public:
  static constexpr unsigned kMarks = RowMeta::kMarks;

  // Without `lists`: it has no mark, and never lists. `list_arena` has the lists, `arena` the removed ids.
  TouchedSets(bool lists, uint64_t seed, Arena& arena, Arena& list_arena);
  TouchedSets(const TouchedSets& other, Arena& arena, Arena& list_arena);

  // Bit m: mark m is used.
  uint32_t used() const { return used_; }
  bool uses(unsigned mark) const { return mark < kMarks && used_ >> mark & 1; }
  // The lowest mark that is not used, or kMarks.
  unsigned unused() const;
  void begin(unsigned mark) { used_ |= 1u << mark; }
  void end(unsigned mark, RowStore& rows);

  // Where it writes follows from none of the row's metadata, which may still be on its way.
  void touch(int64_t id, uint32_t row, RowMeta& meta);
  // The same for an unlisted row while mark 0 is the only one, nothing was removed and there is room: nearly
  // always, and then fewer instructions. False: `touch` must.
  bool touch_simply(int64_t id, uint32_t row, RowMeta& meta) {
    Set& set = sets_[0];
    if (used_ != 1 || !set.removed.is_unused() || !set.entries.has_room()) return false;
    set.entries.push_back({id, row});
    meta.set_listed(1);
    return true;
  }
  // The next `touch` throws nothing: a row must not be inserted and then not listed.
  void make_room();
  // Before the row is freed.
  void remove(int64_t id);
  void append_to(std::vector<int64_t>& ids, unsigned mark) const;
  void clear(unsigned mark, RowStore& rows);
  // At least as many as append_to appends.
  size_t most_ids(unsigned mark) const { return sets_[mark].entries.size() + sets_[mark].removed.size(); }
  size_t small_page_bytes() const;

 private:
  struct Entry {
    int64_t id;
    uint32_t row;
  };
  struct Set {
    ChunkedList<Entry> entries;
    IdSet removed;
  };

  uint32_t used_;
  std::array<Set, kMarks> sets_;
};

}  // namespace freshet
