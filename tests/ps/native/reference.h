// What the table has to be: the same methods over a std::unordered_map, one id at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "table.h"

namespace freshet {

// All rows as of one moment, a few at a time.
class ReferenceCut {
 public:
  explicit ReferenceCut(std::shared_ptr<const Items> items) : items_(std::move(items)) {}

  Items next(size_t most);

 private:
  std::shared_ptr<const Items> items_;
  size_t read_ = 0;
};

// Its bounds are those of the table, over these rows: what is compared is who gets and who loses a row then.
//
// Rows are vectors of their exact length, so that the address sanitizer sees an optimizer that writes beyond
// its row, which in the table would be the next row. It runs portable code when the table does not, and the
// other way round.
class Reference final : public BoundedRows {
 public:
  struct Row {
    std::vector<float> values;
    int64_t last_update_ms = 0;
    uint32_t count = 0;

    bool operator==(const Row&) const = default;
  };

  explicit Reference(const TableConfig& config);

  void lookup(const int64_t* ids, size_t n, float* out) const;
  void apply_gradients(const int64_t* ids, size_t n, const float* gradients, int64_t ts_ms,
                       float learning_rate);
  void assign(const int64_t* ids, size_t n, const float* rows, size_t width, const int64_t* last_update_ms,
              const uint32_t* counts);
  size_t remove(const int64_t* ids, size_t n);
  void contains(const int64_t* ids, size_t n, bool* out) const override;
  void count(const int64_t* ids, size_t n, uint32_t* out) const;
  UniqueRows lookup_unique(const int64_t* ids, size_t n) const;
  Items items() const;
  std::unique_ptr<ReferenceCut> cut();
  unsigned mark();
  void forget(unsigned mark);
  std::vector<int64_t> touched_since(unsigned mark, bool move);
  std::unique_ptr<Reference> clone() const;

  void set_bounds(const BoundsConfig& config);
  void start_pass();
  size_t sweep() { return bounds_ ? bounds_->sweep(*this) : 0; }
  std::optional<int64_t> now_ms() const { return bounds_ ? bounds_->now_ms() : std::nullopt; }
  BoundsCounts bounds_counts() const { return bounds_ ? bounds_->counts() : BoundsCounts{}; }
  BoundsState bounds_state() const { return bounds_ ? bounds_->save() : BoundsState{}; }
  bool restore_bounds(const BoundsState& state) { return !bounds_ || bounds_->restore(*this, state); }

  void stamps(const int64_t* ids, size_t n, Stamp* out) const override;
  size_t drop(const int64_t* ids, size_t n) override;
  void restamp(const int64_t* ids, size_t n, int64_t ts_ms) override;

  size_t size() const override { return rows_.size(); }
  size_t dim() const { return config_.dim; }
  size_t row_floats() const { return config_.dim + optimizer_.state_floats(); }

  // Null when absent.
  const Row* find(int64_t id) const;
  // Makes the row of `id` what it is in `other`, touched.
  void adopt(int64_t id, const Reference& other);

 private:
  bool tracks_touched() const { return config_.optimizer != OptimizerKind::kNone; }
  std::vector<float> initial_row(int64_t id) const;
  // As it reads after it was stored.
  void store(Row& row) const;
  void touch(int64_t id);
  Row& changed_row(int64_t id);

  TableConfig config_;
  Initializer initializer_;
  Optimizer optimizer_;
  RowCodec codec_;
  std::unordered_map<int64_t, Row> rows_;
  std::map<unsigned, std::unordered_set<int64_t>> touched_{{0, {}}};
  std::weak_ptr<const Items> cut_;
  std::optional<Bounds> bounds_;
};

}  // namespace freshet
