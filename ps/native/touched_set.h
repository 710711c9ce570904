// The ids that changed since the last clear. It has no fixed size and drops nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "row_store.h"

namespace freshet {

// A row carries a mark while it is listed, so an update of a listed row costs nothing more. A removed row has
// no mark to carry: its id goes to a set of its own. Each id is stored at most twice. Not thread-safe.
class TouchedSet {
 public:
  void touch(int64_t id, uint32_t row, RowStore& rows) {
    RowMeta& meta = rows.meta(row);
    if (!meta.marked()) add(id, row, meta);
  }
  // Before the row is freed.
  void remove(int64_t id) { removed_.insert(id); }
  void append_to(std::vector<int64_t>& ids) const;
  void clear(RowStore& rows);
  size_t bytes() const;

 private:
  struct Entry {
    int64_t id;
    uint32_t row;
  };

  void add(int64_t id, uint32_t row, RowMeta& meta);

  std::vector<Entry> entries_;
  std::unordered_set<int64_t> removed_;
};

}  // namespace freshet
