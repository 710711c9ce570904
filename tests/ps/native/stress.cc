// Readers, writers, growth, removals and snapshots at once: stress [BATCHES]
//
// Rows verify themselves: all floats of a row follow from its id and a generation, its first. Ids live in
// groups, which one writer owns and always changes in one batch, so that a snapshot must have a group at one
// generation; in some generations it is removed. A writer notes the generation before and after the change,
// so a reader knows which ones it may see.
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <unordered_set>
#include <vector>

#include "check.h"
#include "hash.h"
#include "table.h"

namespace freshet {
namespace {

constexpr size_t kDim = 8;
constexpr size_t kGroups = 2500;
constexpr size_t kGroupIds = 16;
constexpr size_t kWriters = 2;
constexpr size_t kReaders = 2;
constexpr size_t kGroupsOfBatch = 24;
constexpr float kAbsent = -1;  // every value of an initial row

int64_t id_of(size_t group, size_t member) {
  return static_cast<int64_t>(mix(group * kGroupIds + member, 77));
}

bool is_present(size_t group, uint32_t generation) {
  return generation > 0 && mix(group, generation) % 4 > 0;
}

// Whole numbers below 2^20, so that a gradient from one to another is exact.
float value_of(int64_t id, uint32_t generation, size_t column) {
  if (column == 0) return static_cast<float>(generation);
  return static_cast<float>(mix(static_cast<uint64_t>(id) + column, generation) & 0xfffff);
}

struct Generations {
  std::atomic<uint32_t> started = 0;
  std::atomic<uint32_t> done = 0;
};

// Rows that a reader may see, from the generations noted before and after it looked.
struct Window {
  size_t group;
  uint32_t first;
  uint32_t last;

  bool may_be_absent() const {
    for (uint32_t g = first; g <= last; ++g) {
      if (!is_present(group, g)) return true;
    }
    return false;
  }
  // The generation of a row; 0 when it reads as absent.
  uint32_t check(int64_t id, const float* row, size_t floats) const {
    if (row[0] == kAbsent) {
      for (size_t c = 0; c < floats; ++c) FRESHET_CHECK(row[c] == kAbsent);
      FRESHET_CHECK(may_be_absent());
      return 0;
    }
    const uint32_t generation = static_cast<uint32_t>(row[0]);
    FRESHET_CHECK(generation >= first && generation <= last && is_present(group, generation));
    for (size_t c = 0; c < floats; ++c) FRESHET_CHECK(row[c] == value_of(id, generation, c));
    return generation;
  }
};

struct Batch {
  std::vector<int64_t> ids;
  std::vector<float> rows;
  std::vector<int64_t> times;
};

class Stress {
 public:
  Stress(OptimizerKind optimizer, size_t batches)
      : optimizer_(optimizer), batches_(batches), table_(std::make_unique<Table>(config(optimizer))) {}

  void run() {
    std::vector<std::jthread> writers;
    {
      std::vector<std::jthread> others;
      for (size_t r = 0; r < kReaders; ++r) others.emplace_back([this, r] { read(r); });
      others.emplace_back([this] { take_snapshots(); });
      for (size_t w = 0; w < kWriters; ++w) writers.emplace_back([this, w] { write(w); });
      writers.clear();
      done_ = true;
    }
    check_end();
    std::printf("stress: %zu rows read, %zu snapshots, %zu rows at the end\n", rows_read_.load(),
                snapshots_.load(), table_->size());
  }

 private:
  static TableConfig config(OptimizerKind optimizer) {
    TableConfig config{};
    config.dim = kDim;
    config.initializer = InitializerKind::kConstant;
    config.scale = kAbsent;
    config.optimizer = optimizer;
    config.constants.initial_accumulator = kAbsent;
    config.threads = 1;
    config.placement_seed = 5;
    return config;
  }

  // Changes batches of groups of its own; ever more of them, so that the table grows all the time.
  void write(size_t writer) {
    std::mt19937_64 random(writer);
    for (size_t b = 0; b < batches_; ++b) {
      const size_t active = kGroupsOfBatch + (kGroups / kWriters - kGroupsOfBatch) * (b + 1) / batches_;
      std::unordered_set<size_t> groups;
      while (groups.size() < kGroupsOfBatch) groups.insert(random() % active * kWriters + writer);
      for (const size_t g : groups) ++generations_[g].started;
      change(groups, random() % 2 == 0);
      for (const size_t g : groups) ++generations_[g].done;
    }
  }

  void change(const std::unordered_set<size_t>& groups, bool by_gradients) {
    Batch present;
    Batch absent;
    for (const size_t group : groups) {
      const uint32_t generation = generations_[group].started;
      Batch& batch = is_present(group, generation) ? present : absent;
      for (size_t m = 0; m < kGroupIds; ++m) {
        const int64_t id = id_of(group, m);
        batch.ids.push_back(id);
        batch.times.push_back(generation);
        for (size_t c = 0; c < table_->row_floats(); ++c) batch.rows.push_back(value_of(id, generation, c));
      }
    }
    table_->remove(absent.ids.data(), absent.ids.size());
    if (by_gradients && optimizer_ == OptimizerKind::kSgd) {
      step_to(present);
    } else {
      table_->assign(present.ids.data(), present.ids.size(), present.rows.data(), table_->row_floats(),
                     present.times.data(), nullptr);
    }
  }

  // SGD with rate 1: the gradient is what is to go.
  void step_to(const Batch& batch) {
    std::vector<float> gradients(batch.rows.size());
    table_->lookup(batch.ids.data(), batch.ids.size(), gradients.data());
    for (size_t i = 0; i < gradients.size(); ++i) gradients[i] -= batch.rows[i];
    table_->apply_gradients(batch.ids.data(), batch.ids.size(), gradients.data(), 0, 1);
  }

  void read(size_t reader) {
    std::mt19937_64 random(100 + reader);
    std::array<Window, 16> windows;
    std::vector<int64_t> ids(windows.size() * kGroupIds);
    std::vector<float> rows(ids.size() * kDim);
    const auto found = std::make_unique<bool[]>(ids.size());
    do {
      for (size_t w = 0; w < windows.size(); ++w) {
        windows[w].group = random() % kGroups;
        windows[w].first = generations_[windows[w].group].done;
        for (size_t m = 0; m < kGroupIds; ++m) ids[w * kGroupIds + m] = id_of(windows[w].group, m);
      }
      table_->lookup(ids.data(), ids.size(), rows.data());
      table_->contains(ids.data(), ids.size(), found.get());
      for (Window& window : windows) window.last = generations_[window.group].started;
      for (size_t i = 0; i < ids.size(); ++i) {
        const Window& window = windows[i / kGroupIds];
        window.check(ids[i], &rows[i * kDim], kDim);
        if (!found[i]) FRESHET_CHECK(window.may_be_absent());
      }
      rows_read_ += ids.size();
    } while (!done_);
  }

  void take_snapshots() {
    do {
      std::vector<Window> windows(kGroups);
      for (size_t g = 0; g < kGroups; ++g) windows[g] = {g, generations_[g].done, 0};
      const Items items = snapshots_ % 2 ? table_->clone()->items() : table_->items();
      for (Window& window : windows) window.last = generations_[window.group].started;
      check_snapshot(items, windows);
      take_touched();
      FRESHET_CHECK(table_->capacity() >= items.ids.size() / 2 && table_->memory_bytes() > 0);
      ++snapshots_;
    } while (!done_);
  }

  void check_snapshot(const Items& items, const std::vector<Window>& windows) const {
    const size_t floats = table_->row_floats();
    std::vector<uint32_t> generations(kGroups);
    std::vector<size_t> members(kGroups);
    for (size_t i = 0; i < items.ids.size(); ++i) {
      const size_t number = unmix(static_cast<uint64_t>(items.ids[i]), 77);
      const size_t group = number / kGroupIds;
      FRESHET_CHECK(group < kGroups);
      const uint32_t generation = windows[group].check(items.ids[i], &items.rows[i * floats], floats);
      FRESHET_CHECK(generation > 0);
      FRESHET_CHECK(members[group] == 0 || generations[group] == generation);
      generations[group] = generation;
      ++members[group];
    }
    for (size_t g = 0; g < kGroups; ++g) {
      FRESHET_CHECK(members[g] == kGroupIds || (members[g] == 0 && windows[g].may_be_absent()));
    }
  }

  void take_touched() {
    const std::vector<int64_t> ids = table_->touched_since(0, true);
    FRESHET_CHECK(std::unordered_set<int64_t>(ids.begin(), ids.end()).size() == ids.size());
    touched_.insert(ids.begin(), ids.end());
  }

  void check_end() {
    std::vector<Window> windows(kGroups);
    size_t changed = 0;
    take_touched();
    for (size_t g = 0; g < kGroups; ++g) {
      windows[g] = {g, generations_[g].done, generations_[g].done};
      // A removal of what was never there changes nothing.
      for (uint32_t was = 1; was <= windows[g].last; ++was) {
        if (!is_present(g, was)) continue;
        for (size_t m = 0; m < kGroupIds; ++m) changed += touched_.contains(id_of(g, m));
        FRESHET_CHECK(touched_.contains(id_of(g, 0)));
        break;
      }
    }
    FRESHET_CHECK(changed == touched_.size());
    check_snapshot(table_->items(), windows);
  }

  OptimizerKind optimizer_;
  size_t batches_;
  std::unique_ptr<Table> table_;
  std::array<Generations, kGroups> generations_;
  std::atomic<bool> done_ = false;
  std::atomic<size_t> rows_read_ = 0;
  std::atomic<size_t> snapshots_ = 0;
  std::unordered_set<int64_t> touched_;
};

}  // namespace
}  // namespace freshet

int main(int argc, char** argv) {
  const size_t batches = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  for (const auto optimizer : {freshet::OptimizerKind::kSgd, freshet::OptimizerKind::kAdagrad}) {
    std::make_unique<freshet::Stress>(optimizer, batches)->run();
  }
}
