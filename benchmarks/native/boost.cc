#include <boost/unordered/unordered_flat_map.hpp>
#include <functional>

#include "huge_pages.h"
#include "indexed.h"

namespace freshet::bench {
namespace {

using Map = boost::unordered_flat_map<int64_t, uint32_t, boost::hash<int64_t>, std::equal_to<int64_t>,
                                      HugeAllocator<std::pair<const int64_t, uint32_t>>>;

}  // namespace

std::vector<Entry> boost_entries() { return {indexed_entry<Map, 32>("boost_prefetch")}; }

}  // namespace freshet::bench
