// Every request for memory of every call fails once: allocation_failures INPUT...
//
// After it the table is usable and each id of the batch is what it was or what it was to become, listed as
// touched exactly if it changed; the same call then does all of it.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "failing_memory.h"
#include "hash.h"
#include "operations.h"
#include "reference.h"
#include "subject.h"

namespace freshet {
namespace {

constexpr Operation kItems{Act::kItems, {}, 0, 0};
constexpr Operation kTouched{Act::kTouched, {}, 0, 0};

// Larger assignments are there to fill the table: to fail all their requests would take long, and show
// nothing new.
constexpr size_t kMostAssigned = 2000;

// Of a table of one thread, so that requests come in the same order each time.
TableConfig config_of(size_t dim) {
  TableConfig config{};
  config.dim = dim;
  config.optimizer = OptimizerKind::kSgd;
  config.threads = 1;
  return config;
}

// The rows of a table at one moment.
Reference contents(Subject<Table>& subject) {
  Reference all(subject.config());
  const Items items = subject.table().items();
  all.assign(items.ids.data(), items.ids.size(), items.rows.data(), all.row_floats(),
             items.last_update_ms.data(), items.counts.data());
  return all;
}

bool same_row(const Reference& a, const Reference& b, int64_t id) {
  const Reference::Row* x = a.find(id);
  const Reference::Row* y = b.find(id);
  return x && y ? *x == *y : x == y;
}

// A call, and the reference without and with it.
struct Case {
  const Operation& operation;
  const Subject<Table>& table;
  const Subject<Reference>& before;
  Subject<Reference> after;

  Case(const Operation& o, const Subject<Table>& t, const Subject<Reference>& reference)
      : operation(o), table(t), before(reference), after(reference.clone()) {
    after.perform(operation);
  }
};

// What the table must be after the failure: as before, but for the ids of the batch that it has done.
Subject<Reference> done_so_far(Subject<Table>& table, Case& tried) {
  Subject<Reference> expected = tried.before.clone();
  const Reference now = contents(table);
  for (const int64_t id : tried.operation.ids) {
    if (same_row(now, expected.table(), id)) continue;
    FRESHET_CHECK(same_row(now, tried.after.table(), id));
    expected.table().adopt(id, tried.after.table());
  }
  return expected;
}

void check_same(Subject<Table>& table, Subject<Reference>& reference) {
  FRESHET_CHECK(table.perform(kItems) == reference.perform(kItems));
  FRESHET_CHECK(table.perform(kTouched) == reference.perform(kTouched));
  FRESHET_CHECK(table.table().size() == reference.table().size());
}

// False when the call made fewer requests than that.
bool fail_at(size_t request, FailingMemory::Mode mode, Case& tried) {
  Subject<Table> table = tried.table.clone();
  bool failed = false;
  std::optional<Outcome> outcome;
  try {
    outcome = table.perform(tried.operation, [&](auto call) {
      FailingMemory memory(request, mode, &failed);
      call();
    });
  } catch (const std::bad_alloc&) {
    FRESHET_CHECK(failed);
  }
  if (!failed) return false;
  if (!outcome) {
    Subject<Reference> expected = done_so_far(table, tried);
    check_same(table, expected);
    FRESHET_CHECK(table.perform(tried.operation) == expected.perform(tried.operation));
    check_same(table, expected);
    return true;
  }
  // It found another way, as a new table does that asks for less address space.
  FRESHET_CHECK(*outcome == tried.before.clone().perform(tried.operation));
  check_same(table, tried.after);
  return true;
}

size_t fail_everywhere(Case tried) {
  const std::string context = check_context;
  size_t requests = 0;
  for (const auto mode : {FailingMemory::Mode::kOnce, FailingMemory::Mode::kFromThenOn}) {
    for (requests = 0;; ++requests) {
      check_context = context + ", request " + std::to_string(requests);
      if (!fail_at(requests, mode, tried)) break;
    }
  }
  return requests;
}

// A repeated id of an assignment may also keep one of the values in between.
void remove_repeats(Operation& operation) {
  std::ranges::sort(operation.ids);
  const auto repeats = std::ranges::unique(operation.ids);
  operation.ids.erase(repeats.begin(), repeats.end());
}

size_t run(const std::vector<uint8_t>& bytes) {
  Program program(bytes);
  Subject<Table> table(program.config());
  Subject<Reference> reference(program.config());
  const std::string context = check_context;
  size_t requests = 0;
  for (size_t step = 0; std::optional<Operation> operation = program.next(); ++step) {
    if (operation->act >= Act::kAssignEmbeddings && operation->act <= Act::kAssignRowsAndCounts)
      remove_repeats(*operation);
    check_context = context + ", operation " + std::to_string(step);
    const bool fills = operation->act == Act::kAssignEmbeddings && operation->ids.size() > kMostAssigned;
    if (!fills) requests += fail_everywhere({*operation, table, reference});
    table.perform(*operation);
    reference.perform(*operation);
  }
  check_same(table, reference);
  return requests;
}

// An insert that fails a thousand times takes no more memory than one that fails once.
void check_that_failures_leak_nothing() {
  check_context = "an insert that makes its map grow";
  Table table(config_of(1000));
  const auto in_segment_0 = [](uint64_t i) { return static_cast<int64_t>(unmix(i, 0)); };
  const std::vector<float> gradient(table.dim(), 1.0f);
  for (uint64_t i = 0; i < 4; ++i) {
    const int64_t id = in_segment_0(i);
    table.apply_gradients(&id, 1, gradient.data(), 0, kLearningRate);
  }
  const int64_t fifth = in_segment_0(4);
  size_t request = 0;
  for (bool failed = true; failed; ++request) {
    size_t memory_bytes = 0;
    for (size_t attempt = 0; attempt < 1000 && failed; ++attempt) {
      try {
        FailingMemory memory(request, FailingMemory::Mode::kOnce, &failed);
        table.apply_gradients(&fifth, 1, gradient.data(), 0, kLearningRate);
      } catch (const std::bad_alloc&) {
      }
      if (attempt == 0) memory_bytes = table.memory_bytes();
    }
    FRESHET_CHECK(!failed || table.memory_bytes() == memory_bytes);
  }
  size_t without_growth = 0;
  for (bool failed = true; failed; ++without_growth) {
    try {
      FailingMemory memory(without_growth, FailingMemory::Mode::kOnce, &failed);
      table.apply_gradients(&fifth, 1, gradient.data(), 0, kLearningRate);
    } catch (const std::bad_alloc&) {
    }
  }
  FRESHET_CHECK(request > without_growth + 1 && table.size() == 5);
}

// The list of touched ids of a segment gets its first chunk of an arena.
void check_that_a_long_list_survives_failures() {
  check_context = "a list of touched ids that becomes long";
  constexpr size_t kIds = 1024;
  Table table(config_of(1));
  std::vector<int64_t> ids(kIds);
  for (size_t i = 0; i < kIds; ++i) ids[i] = static_cast<int64_t>(unmix(i, 0));
  const std::vector<float> gradients(kIds, 1.0f);
  table.apply_gradients(ids.data(), kIds, gradients.data(), 0, kLearningRate);
  const int64_t next = static_cast<int64_t>(unmix(kIds, 0));
  const auto check_touched = [](Table& changed, size_t expected) {
    FRESHET_CHECK(changed.size() == expected && changed.touched_since(0, false).size() == expected);
  };
  bool failed = true;
  for (size_t request = 0; failed; ++request) {
    const std::unique_ptr<Table> copy = table.clone();
    try {
      FailingMemory memory(request, FailingMemory::Mode::kOnce, &failed);
      copy->apply_gradients(&next, 1, gradients.data(), 0, kLearningRate);
    } catch (const std::bad_alloc&) {
    }
    check_touched(*copy, failed ? kIds : kIds + 1);
    copy->apply_gradients(&next, 1, gradients.data(), 0, kLearningRate);
    check_touched(*copy, kIds + 1);
    FRESHET_CHECK(copy->memory_bytes() > table.memory_bytes() + 2 * Arena::kGranuleBytes);
  }
}

// However a batch, a removal or a pass fails, the table has as many rows afterwards as it may, and no more.
void check_that_a_limit_survives_failures() {
  check_context = "a table with a limit of rows";
  constexpr size_t kMostRows = 100;
  Table full(config_of(2));
  full.set_bounds({.min_count = 1,
                   .window_ms = 0,
                   .tracked_ids = 1,
                   .probability = 1,
                   .expire_after_ms = 10,
                   .max_rows = kMostRows,
                   .when_full = WhenFull::kOldest,
                   .slice_rows = 50,
                   .room_rows = 100,
                   .seed = 1});
  const std::vector<float> gradients(2 * kMostRows, 1.0f);
  const auto learn = [&](Table& table, int64_t first, size_t n, int64_t ts_ms) {
    std::vector<int64_t> ids(n);
    std::iota(ids.begin(), ids.end(), first);
    table.apply_gradients(ids.data(), n, gradients.data(), ts_ms, kLearningRate);
  };
  for (size_t i = 0; i < EventClock::kBatches; ++i) learn(full, 0, kMostRows, 0);
  for (size_t i = 0; i < EventClock::kBatches; ++i) learn(full, 0, kMostRows / 2, 11);
  std::vector<int64_t> some(kMostRows / 2);
  std::iota(some.begin(), some.end(), 20);
  const std::function<void(Table&)> calls[] = {
      [&](Table& table) { learn(table, 1000, 60, 11); },
      [&](Table& table) { table.remove(some.data(), some.size()); },
      [&](Table& table) { table.start_pass(), table.sweep(); },
  };
  for (const auto& call : calls) {
    bool failed = true;
    for (size_t request = 0; failed; ++request) {
      const std::unique_ptr<Table> table = full.clone();
      try {
        FailingMemory memory(request, FailingMemory::Mode::kOnce, &failed);
        call(*table);
      } catch (const std::bad_alloc&) {
      }
      for (int64_t i = 0; i < 20; ++i) {
        learn(*table, 2000 + 40 * i, 40, 11);
        FRESHET_CHECK(table->size() <= kMostRows);
      }
      FRESHET_CHECK(table->size() == kMostRows);
    }
  }
}

}  // namespace
}  // namespace freshet

int main(int argc, char** argv) {
  using freshet::check_context;
  freshet::check_that_failures_leak_nothing();
  freshet::check_that_a_long_list_survives_failures();
  freshet::check_that_a_limit_survives_failures();
  size_t requests = 0;
  for (int i = 1; i < argc; ++i) {
    check_context = argv[i];
    std::ifstream file(argv[i], std::ios::binary);
    requests += freshet::run({std::istreambuf_iterator<char>(file), {}});
  }
  FRESHET_CHECK(requests > 0);
  std::printf("allocation failures: each of %zu requests for memory failed\n", requests);
}
