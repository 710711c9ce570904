// The map inside Monolith and TFRA: keys and rows in its buckets, a lock per stripe of buckets.
#include <cstring>
#include <functional>
#include <libcuckoo/cuckoohash_map.hh>

#include "adagrad.h"
#include "contender.h"
#include "hash.h"
#include "huge_pages.h"

namespace freshet::bench {
namespace {

struct Hash {
  size_t operator()(int64_t id) const { return mix(static_cast<uint64_t>(id), kGolden); }
};

class Libcuckoo : public Contender {
 public:
  void lookup(const Batch& batch, float* out) override {
    for (size_t i = 0; i < batch.ids.size(); ++i) {
      float* const to = out + i * kDim;
      const bool found = map_.find_fn(
          batch.ids[i], [to](const Row& row) { std::memcpy(to, row.data(), kDim * sizeof(float)); });
      if (!found) std::memset(to, 0, kDim * sizeof(float));
    }
  }

  void update(const Batch& batch, const float* gradients) override {
    for (size_t i = 0; i < batch.ids.size(); ++i) {
      const float* const gradient = gradients + i * kDim;
      Row fresh;
      initialize(fresh.data());
      adagrad(fresh.data(), gradient);
      map_.upsert(
          batch.ids[i], [gradient](Row& row) { adagrad(row.data(), gradient); }, fresh);
    }
  }

 private:
  using Pair = std::pair<const int64_t, Row>;
  libcuckoo::cuckoohash_map<int64_t, Row, Hash, std::equal_to<>, HugeAllocator<Pair>, 4> map_;
};

}  // namespace

std::vector<Entry> libcuckoo_entries() {
  return {{.name = "libcuckoo",
           .make = [](size_t) { return std::make_unique<Libcuckoo>(); },
           .grows_at_once = true}};
}

}  // namespace freshet::bench
