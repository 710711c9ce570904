// Bytes of a fuzzer as a table's settings and a sequence of calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "table.h"

namespace freshet {

enum class Act : uint8_t {
  kApplyGradients,
  kLookup,
  kRemove,
  kAssignEmbeddings,
  kAssignRows,
  kAssignRowsAndCounts,
  kContains,
  kItems,
  kTouched,
  kTouchedAndClear,
  kClone,             // and go on with the clone
  kRestore,           // items into a new table with another placement seed, and go on with that
  kGradientsWithNan,  // refused, as the next two
  kGradientsWithInfiniteSum,
  kAssignInfinity,  // refused
  kCount,
  kLookupUnique,
  kMark,
  kForgetMark,
  kTouchedSinceMark,
  kBeginCut,  // refused while there is one
  kReadCut,   // some rows of it
  kReadCutToItsEnd,
  kCloseCut,
  kSetBounds,   // refused unless the table is empty
  kTimePasses,  // as many batches as the clock of the bounds needs to follow
  kExpire,
};
inline constexpr unsigned kActs = 27;

inline constexpr float kLearningRate = 0.125f;

struct Operation {
  Act act;
  std::vector<int64_t> ids;
  uint64_t seed;  // of gradients, rows, counts
  int64_t ts_ms;
};

// Four bytes of settings, then eight bytes for each operation; any bytes are valid. Ids come from a few
// families, so that short inputs reach what takes many ids: repeats, growth, splits, floods.
class Program {
 public:
  static constexpr size_t kHeaderBytes = 4;
  static constexpr size_t kOperationBytes = 8;
  static constexpr size_t kMostIds = 120'000;  // an input ends there, so that none takes long

  explicit Program(std::span<const uint8_t> bytes);

  const TableConfig& config() const { return config_; }
  // None at the end.
  std::optional<Operation> next();

 private:
  std::vector<int64_t> ids(unsigned family, size_t n, uint64_t start, uint64_t step) const;

  std::span<const uint8_t> bytes_;
  TableConfig config_;
  size_t ids_left_ = kMostIds;
};

// Bounds from the seed and the time of an operation: any of them, limits of few rows.
BoundsConfig bounds_of(const Operation& operation);

// Small multiples of 1/16, so that most sums are exact, the same for the same seed.
std::vector<float> floats_of(uint64_t seed, size_t n);

}  // namespace freshet
