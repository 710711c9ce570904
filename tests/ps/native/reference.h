// What the table has to be: the same methods over a std::unordered_map, one id at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "table.h"

namespace freshet {

// Rows are vectors of their exact length, so that the address sanitizer sees an optimizer that writes beyond
// its row, which in the table would be the next row. It runs portable code when the table does not, and the
// other way round.
class Reference {
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
  void contains(const int64_t* ids, size_t n, bool* out) const;
  Items items() const;
  std::vector<int64_t> touched_since(unsigned mark, bool move);
  std::unique_ptr<Reference> clone() const { return std::make_unique<Reference>(*this); }

  size_t size() const { return rows_.size(); }
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
  Row& changed_row(int64_t id);

  TableConfig config_;
  Initializer initializer_;
  Optimizer optimizer_;
  RowCodec codec_;
  std::unordered_map<int64_t, Row> rows_;
  std::unordered_set<int64_t> touched_;
};

}  // namespace freshet
