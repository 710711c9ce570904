#include <absl/container/flat_hash_map.h>

#include <functional>

#include "huge_pages.h"
#include "indexed.h"

namespace freshet::bench {
namespace {

using Map = absl::flat_hash_map<int64_t, uint32_t, absl::Hash<int64_t>, std::equal_to<int64_t>,
                                HugeAllocator<std::pair<const int64_t, uint32_t>>>;

}  // namespace

std::vector<Entry> absl_entries() {
  return {indexed_entry<Map, 0>("absl"), indexed_entry<Map, 32>("absl_prefetch")};
}

}  // namespace freshet::bench
