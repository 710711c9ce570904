#include "touched_set.h"

namespace freshet {

void TouchedSet::append_to(std::vector<int64_t>& ids) const {
  for (const Entry& entry : entries_) {
    if (!removed_.contains(entry.id)) ids.push_back(entry.id);
  }
  ids.insert(ids.end(), removed_.begin(), removed_.end());
}

// A listed row may be another id's by now. Then that id is listed or removed as well, so no mark is lost.
void TouchedSet::clear(RowStore& rows) {
  for (const Entry& entry : entries_) rows.meta(entry.row).set_marked(false);
  std::vector<Entry>().swap(entries_);  // gives the memory back, as clear() does not
  std::unordered_set<int64_t>().swap(removed_);
}

size_t TouchedSet::bytes() const {
  return entries_.capacity() * sizeof(Entry) + removed_.size() * 4 * sizeof(void*) +
         removed_.bucket_count() * sizeof(void*);
}

void TouchedSet::add(int64_t id, uint32_t row, RowMeta& meta) {
  if (!removed_.empty() && removed_.contains(id)) return;
  entries_.push_back({id, row});
  meta.set_marked(true);
}

}  // namespace freshet
