// The embedding table: batch calls over 64 segments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "arena.h"
#include "bounds.h"
#include "cut.h"
#include "gradient_policy.h"
#include "initializer.h"
#include "optimizers.h"
#include "row_codec.h"
#include "walk.h"

namespace freshet {

struct TableConfig {
  size_t dim;
  RowFormat format;  // other than float32: no optimizer
  InitializerKind initializer;
  float scale;
  OptimizerKind optimizer;
  OptimizerConstants constants;
  uint64_t seed;            // of the initial rows
  uint64_t placement_seed;  // of the map; has no influence on any value
  size_t initial_capacity_rows;
  size_t threads;  // that work on one large batch
  bool portable;   // values without AVX2 and AVX-512; hashes are integers, the same with them
};

struct UniqueRows {
  UniqueIds unique;
  std::unique_ptr<float[]> rows;  // unique.ids.size() x dim
};

// int64 ids, every one of the 2^64, to rows of `row_floats` floats: the embedding, then the optimizer's
// state. No two ids share a row. All methods are thread-safe; `items` and `clone` see each batch whole or not
// at all. Throws std::invalid_argument before anything is changed, or std::bad_alloc, after which each id of
// the batch is either as before or done, and listed as touched if it is done.
class Table final : public BoundedRows {
 public:
  explicit Table(const TableConfig& config);
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  // `out`: n x dim. An absent id reads as its initial value and is not inserted.
  void lookup(const int64_t* ids, size_t n, float* out) const;
  // The distinct ids, in the order of their first positions, their rows, and where each id is among them.
  UniqueRows lookup_unique(const int64_t* ids, size_t n) const;
  // One step of the optimizer on each distinct id, with the sum of its gradients (n x dim); absent ids are
  // inserted first.
  void apply_gradients(const int64_t* ids, size_t n, const float* gradients, int64_t ts_ms,
                       float learning_rate);
  // `rows`: n x width; width dim keeps the state (initial for a new id), row_floats sets it. The last of
  // repeated ids wins. `counts` may be null: they stay.
  void assign(const int64_t* ids, size_t n, const float* rows, size_t width, const int64_t* last_update_ms,
              const uint32_t* counts);
  // How many were there.
  size_t remove(const int64_t* ids, size_t n);
  void stamps(const int64_t* ids, size_t n, Stamp* out) const override;

  // What moves rows to another place and back: nothing of it counts as a change. Ids that are listed as
  // touched stay so, and are listed twice when they are touched again after they were put back.
  //
  // Up to `most` rows of one of the 64 segments, those with the oldest update.
  Items oldest(size_t segment, size_t most) const;
  // `rows`: n x row_floats.
  void put_back(const int64_t* ids, size_t n, const float* rows, const int64_t* last_update_ms,
                const uint32_t* counts);
  size_t take_out(const int64_t* ids, size_t n);

  // For bounds, the table's own or others that count it as one part: `remove` without telling them.
  size_t drop(const int64_t* ids, size_t n) override;
  void restamp(const int64_t* ids, size_t n, int64_t ts_ms) override;

  void contains(const int64_t* ids, size_t n, bool* out) const override;
  // `lookup` and `contains` at once.
  void find(const int64_t* ids, size_t n, float* out, bool* found) const;
  // How often each was updated; 0 for an absent id.
  void count(const int64_t* ids, size_t n, uint32_t* out) const;
  Items items() const;
  // The same without the floats, segment by segment: not all of one moment.
  Items ages() const;
  // It must not outlive the table.
  std::unique_ptr<Cut> cut();
  // A mark at this moment, for `touched_since`. Mark 0 is made with the table.
  unsigned mark();
  void forget(unsigned mark);
  // Distinct ids inserted, changed or removed since the mark, which then may move to this moment.
  std::vector<int64_t> touched_since(unsigned mark, bool move);
  std::unique_ptr<Table> clone() const;

  // From now on `apply_gradients` keeps these bounds, and changes run one at a time.
  void set_bounds(const BoundsConfig& config);
  // Looks for expired rows though they are not due: `start_pass`, then `sweep` until nothing is left to look
  // at.
  void start_pass();
  size_t sweep();
  std::optional<int64_t> now_ms() const;
  BoundsCounts bounds_counts() const;
  BoundsState bounds_state() const;
  // False when the admission filter of `state` is of another layout: it starts anew.
  bool restore_bounds(const BoundsState& state);

  // What became of rows whose gradient was bad.
  const GradientPolicy& gradient_policy() const { return gradient_policy_; }
  size_t size() const override;
  size_t capacity() const;
  size_t memory_bytes() const;
  size_t dim() const { return config_.dim; }
  size_t row_floats() const { return config_.dim + optimizer_.state_floats(); }

 private:
  // The first bucket arrays of a table, which may stay small.
  static constexpr size_t kSmallPageBlocks = 2;

  // For as long as a change takes: the only one while there are bounds.
  std::unique_lock<std::mutex> turn() const {
    return bounds_ ? std::unique_lock(changes_) : std::unique_lock<std::mutex>();
  }
  // `change`, after which the bounds know how many rows there are, also when it throws.
  template <class Change>
  void bounded(Change change);
  // Asks the bounds which ids of a batch of gradients get no row.
  void leave_out_unadmitted(Probes& probes, const int64_t* ids, size_t n, int64_t ts_ms);
  void set_rows(const int64_t* ids, size_t n, const float* rows, size_t width, const int64_t* last_update_ms,
                const uint32_t* counts, bool touch);
  size_t remove_rows(const int64_t* ids, size_t n, bool touch);
  bool tracks_touched() const { return config_.optimizer != OptimizerKind::kNone; }
  // The row of an id that was not found. If it is absent indeed: a new one, of float32 `embedding()` and its
  // first state, of other formats undefined. Never inlined: updates do without, whose loop it would crowd.
  template <class Embedding>
  [[gnu::noinline]] uint32_t find_or_insert(Segment& segment, uint64_t hash, Embedding embedding) const;
  template <class Get>
  size_t sum_over_segments(Get get) const;
  // `found` may be null.
  void lookup(const int64_t* ids, std::span<const Probe> probes, float* out, bool* found) const;
  // `visit` as Pipeline has it, or for one id at a time.
  template <Access kAccess, class Prefetch, class Visit>
  void walk_blocks(std::span<const Probe> probes, Prefetch prefetch, Visit visit) const;
  template <Access kAccess, class Prefetch, class Visit>
  void walk(std::span<const Probe> probes, Prefetch prefetch, Visit visit) const;

  TableConfig config_;
  Initializer initializer_;
  Optimizer optimizer_;
  GradientPolicy gradient_policy_;
  RowCodec codec_;
  Arena arena_{kSmallPageBlocks};  // of bucket arrays
  Arena list_arena_{0};            // of long lists of touched rows: they have 1,024 of a segment's before
  RowSpace space_;
  Segments segments_;
  std::unique_ptr<Bounds> bounds_;  // null: none; guarded by changes_
  mutable std::mutex changes_;      // taken before the locks of segments
};

}  // namespace freshet
