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

// All variants of a layout gather from the same rows.
template <Layout kLayout>
std::shared_ptr<Rows<kLayout>> shared_rows(size_t most_rows) {
  static std::weak_ptr<Rows<kLayout>> shared;
  std::shared_ptr<Rows<kLayout>> rows = shared.lock();
  if (rows) return rows;
  shared = rows = std::make_shared<Rows<kLayout>>(most_rows);
  for (size_t r = 0; r < most_rows; ++r) initialize((*rows)[r]);
  return rows;
}

template <Layout kLayout, Into kInto>
class Ceiling : public Contender {
 public:
  explicit Ceiling(size_t most_rows) : shared_(shared_rows<kLayout>(most_rows)), rows_(*shared_) {}

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

  std::shared_ptr<Rows<kLayout>> shared_;
  Rows<kLayout>& rows_;
};

template <Layout kLayout, Into kInto>
Entry entry(const char* name) {
  return {.name = name,
          .make = [](size_t most_rows) { return std::make_unique<Ceiling<kLayout, kInto>>(most_rows); },
          .has_keys = false};
}

}  // namespace

std::vector<Entry> ceiling_entries() {
  return {entry<Layout::kDense, Into::kNowhere>("ceiling_plain"),
          entry<Layout::kDense, Into::kFirstLevel>("ceiling_prefetch_1"),
          entry<Layout::kDense, Into::kSecondLevel>("ceiling_prefetch_2"),
          entry<Layout::kSpread, Into::kNowhere>("ceiling_spread_plain"),
          entry<Layout::kSpread, Into::kFirstLevel>("ceiling_spread_prefetch_1"),
          entry<Layout::kSpread, Into::kSecondLevel>("ceiling_spread_prefetch_2")};
}

}  // namespace freshet::bench
