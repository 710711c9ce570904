// What every table in the benchmark can do: look up, and take one Adagrad step, which inserts what is absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace freshet::bench {

inline constexpr size_t kDim = 16;
inline constexpr size_t kRowFloats = 2 * kDim;  // embedding, accumulators
inline constexpr size_t kBatch = 8192;
inline constexpr size_t kPayloadBytes = kRowFloats * sizeof(float) + sizeof(int64_t);

// Ids of one call, and the rank of each among all ids: the ceiling knows without a search where a row is.
struct Batch {
  std::vector<int64_t> ids;
  std::vector<uint32_t> ranks;
};

class Contender {
 public:
  virtual ~Contender() = default;
  // `out`: ids x kDim; an absent id leaves zeros, or its initial value.
  virtual void lookup(const Batch& batch, float* out) = 0;
  virtual void update(const Batch& batch, const float* gradients) = 0;
  // What a parameter server does once a second; before updates are timed.
  virtual void sync() {}
};

struct Entry {
  std::string name;
  std::function<std::unique_ptr<Contender>(size_t most_rows)> make;
  bool has_keys = true;              // the ceiling has none: it neither misses nor inserts
  bool changes_from_threads = true;  // without a lock of its own: one thread changes
  bool grows_at_once = false;        // by doubling all it has
};

std::vector<Entry> ceiling_entries();
std::vector<Entry> ours_entries();
std::vector<Entry> libcuckoo_entries();
std::vector<Entry> absl_entries();
std::vector<Entry> boost_entries();

}  // namespace freshet::bench
