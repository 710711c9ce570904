// The speed of light: rows whose numbers are known, gathered at random. Nothing that has to search is faster.
#include <cstring>
#include <memory>

#include "adagrad.h"
#include "contender.h"
#include "huge_pages.h"

namespace freshet::bench {
namespace {

enum class Into { kNowhere, kFirstLevel, kSecondLevel };

constexpr size_t kAhead = 32;

// All variants gather from the same rows.
std::shared_ptr<Rows> shared_rows(size_t most_rows) {
  static std::weak_ptr<Rows> shared;
  std::shared_ptr<Rows> rows = shared.lock();
  if (rows) return rows;
  shared = rows = std::make_shared<Rows>(most_rows);
  for (size_t r = 0; r < most_rows; ++r) initialize((*rows)[r]);
  return rows;
}

template <Into kInto>
class Ceiling : public Contender {
 public:
  explicit Ceiling(size_t most_rows) : shared_(shared_rows(most_rows)), rows_(*shared_) {}

  void lookup(const Batch& batch, float* out) override {
    const size_t n = batch.ranks.size();
    for (size_t i = 0; i < n; ++i) {
      if (i + kAhead < n) ask_for(rows_[batch.ranks[i + kAhead]]);
      std::memcpy(out + i * kDim, rows_[batch.ranks[i]], kDim * sizeof(float));
    }
  }

  void update(const Batch& batch, const float* gradients) override {
    const size_t n = batch.ranks.size();
    for (size_t i = 0; i < n; ++i) {
      if (i + kAhead < n) {
        ask_for(rows_[batch.ranks[i + kAhead]]);
        ask_for(rows_[batch.ranks[i + kAhead]] + kDim);
      }
      adagrad(rows_[batch.ranks[i]], gradients + i * kDim);
    }
  }

 private:
  [[gnu::always_inline]] static void ask_for(const float* line) {
    if constexpr (kInto == Into::kFirstLevel) __builtin_prefetch(line, 0, 3);
    if constexpr (kInto == Into::kSecondLevel) __builtin_prefetch(line, 0, 2);
  }

  std::shared_ptr<Rows> shared_;
  Rows& rows_;
};

template <Into kInto>
Entry entry(const char* name) {
  return {.name = name,
          .make = [](size_t most_rows) { return std::make_unique<Ceiling<kInto>>(most_rows); },
          .has_keys = false};
}

}  // namespace

std::vector<Entry> ceiling_entries() {
  return {entry<Into::kNowhere>("ceiling_plain"), entry<Into::kFirstLevel>("ceiling_prefetch_1"),
          entry<Into::kSecondLevel>("ceiling_prefetch_2")};
}

}  // namespace freshet::bench
