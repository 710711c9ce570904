// Measures embedding tables beside each other in one process, in turns, and prints `name value` lines as they
// come. See benchmarks/table.py.
//
//   table_bench ROWS ROUNDS [CONTENDER …]
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "contender.h"
#include "draws.h"
#include "huge_pages.h"
#include "measure.h"
#include "ours.h"

namespace freshet::bench {
namespace {

constexpr size_t kWarmUpBatches = 60;
constexpr size_t kBatchesPerRound = 60;
constexpr size_t kMostThreads = 2;
constexpr size_t kAheadBytes = size_t{256} << 20;  // free for a table that grows by large steps

struct Case {
  const char* name;
  Distribution distribution;
  size_t threads;
};
constexpr Case kCases[] = {{"uniform_1", Distribution::kUniform, 1},
                           {"uniform_2", Distribution::kUniform, 2},
                           {"zipf_1", Distribution::kZipf, 1},
                           {"zipf_2", Distribution::kZipf, 2}};

void print(const std::string& name, double value) {
  std::printf("%s %.4f\n", name.c_str(), value);
  std::fflush(stdout);
}

size_t resident_bytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm").ignore(64, ' ') >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

class Bench {
 public:
  Bench(size_t rows, size_t rounds, std::vector<Entry> entries)
      : rows_(rows), rounds_(rounds), entries_(std::move(entries)), gradients_(kBatch * kDim, 0.01f) {
    for (auto& out : outs_) out.resize(kBatch * kDim);
  }

  void run() {
    for (const Case& c : kCases) insert(c);
    fill();
    calls("lookup_hit", false, [](size_t) { return false; });
    calls("lookup_miss", true, [](size_t) { return false; });
    calls("update", false, [](size_t) { return true; });
    calls("mixed", false, [](size_t batch) { return batch % 10 == 9; });
  }

 private:
  using Rates = std::map<std::string, std::vector<double>>;

  // Batches into an empty table until all are in it.
  void insert(const Case& c) {
    const auto batches = c.distribution == Distribution::kUniform
                             ? every_rank(rows_, 1)
                             : draw(c.distribution, rows_, rows_ / kBatch, false, 1);
    Rates rates;
    std::vector<std::vector<double>> took_ms;  // by round, then batch
    for (size_t round = 0; round < std::min<size_t>(rounds_, 3); ++round) {
      for (const Entry& entry : entries_) {
        if (!entry.has_keys || (c.threads > 1 && !entry.changes_from_threads)) continue;
        const std::unique_ptr<Contender> table = entry.make(rows_);
        const size_t most_bytes = kAheadBytes + rows_ * 2 * kPayloadBytes;
        WarmMemory warm(most_bytes);
        if (entry.grows_at_once) warm.give_back(most_bytes);
        std::vector<double> took(batches.size());
        rates[entry.name].push_back(rate(batches, 0, c.threads, [&](size_t b, const Batch& batch, size_t) {
          warm.give_back(kAheadBytes + (b + 1) * kBatch * 2 * kPayloadBytes);
          const Clock::time_point start = Clock::now();
          table->update(batch, gradients_.data());
          took[b] = milliseconds_since(start);
        }));
        if (entry.name == "ours") took_ms.push_back(std::move(took));
      }
    }
    report(std::string(c.name) + ".insert", rates);
    if (!took_ms.empty()) report_growth(c.name, took_ms);
  }

  // The table does the same in every round: a batch that waits for it does so in all of them, one that waits
  // for the machine in one.
  void report_growth(const std::string& name, const std::vector<std::vector<double>>& took_ms) {
    std::vector<double> usual_ms;
    double worst_ms = 0;
    for (size_t b = 0; b < took_ms[0].size(); ++b) {
      std::vector<double> of_batch;
      for (const auto& round : took_ms) of_batch.push_back(round[b]);
      usual_ms.push_back(quantile(of_batch, 0.5));
      worst_ms = std::max(worst_ms, quantile(of_batch, 1));
    }
    print(name + ".growth_p50_ms", quantile(usual_ms, 0.5));
    print(name + ".growth_p99_ms", quantile(usual_ms, 0.99));
    print(name + ".growth_max_ms", quantile(usual_ms, 1));
    print(name + ".growth_worst_ms", worst_ms);
  }

  void fill() {
    const auto batches = every_rank(rows_, 1);
    for (const Entry& entry : entries_) {
      malloc_trim(0);  // what was freed before must not be given back while this one is filled
      const size_t before = resident_bytes();
      auto table = entry.make(rows_);
      auto* const ours = dynamic_cast<Ours*>(table.get());
      double most_bytes_per_row = 0;
      size_t inserted = 0;
      for (const Batch& batch : batches) {
        table->update(batch, gradients_.data());
        inserted += batch.ids.size();
        if (!ours || inserted % (16 * kBatch)) continue;
        ours->sync();  // its list is not part of a row
        if (inserted < rows_ / 10) continue;
        most_bytes_per_row = std::max(most_bytes_per_row, static_cast<double>(ours->table.memory_bytes()) /
                                                              static_cast<double>(inserted));
      }
      if (ours) {
        ours->sync();
        report_memory(ours->table, resident_bytes() - before, most_bytes_per_row);
      }
      tables_.push_back(std::move(table));
    }
  }

  void report_memory(const Table& table, size_t resident, double most_bytes_per_row) {
    const auto rows = static_cast<double>(table.size());
    const auto bytes = static_cast<double>(table.memory_bytes());
    print("load_factor", rows / static_cast<double>(table.capacity()));
    print("bytes_per_row", bytes / rows);
    print("growth_max_bytes_per_row", most_bytes_per_row);
    print("payload_bytes_per_row", kPayloadBytes);
    print("memory_bytes_of_resident", bytes / static_cast<double>(resident));
  }

  // All cases in each round, so that whatever else the machine does meets all of them.
  template <class IsUpdate>
  void calls(const std::string& what, bool misses, IsUpdate is_update) {
    std::map<std::string, Rates> rates;
    for (size_t round = 0; round < rounds_; ++round) {
      for (const Case& c : kCases) {
        const auto batches = draw(c.distribution, rows_, kWarmUpBatches + kBatchesPerRound, misses, ++draws_);
        call_in_turns(c, batches, misses, is_update, rates[c.name + ("." + what)]);
      }
    }
    for (const auto& [name, of_case] : rates) report(name, of_case);
  }

  template <class IsUpdate>
  void call_in_turns(const Case& c, const std::vector<Batch>& batches, bool misses, IsUpdate is_update,
                     Rates& rates) {
    const bool changes = is_update(9);
    for (size_t e = 0; e < entries_.size(); ++e) {
      if (misses && !entries_[e].has_keys) continue;
      if (changes && c.threads > 1 && !entries_[e].changes_from_threads) continue;
      Contender& table = *tables_[e];
      const auto call = [&](size_t b, const Batch& batch, size_t thread) {
        if (is_update(b)) {
          table.update(batch, gradients_.data());
        } else {
          table.lookup(batch, outs_[thread].data());
        }
      };
      // So what was touched while it warmed up is touched anew, as after any sync.
      const auto sync = [&table, changes] {
        if (changes) table.sync();
      };
      rates[entries_[e].name].push_back(rate(batches, kWarmUpBatches, c.threads, call, sync));
    }
  }

  void report(const std::string& name, const Rates& rates) {
    for (const auto& [contender, values] : rates) print(name + "." + contender, quantile(values, 0.5));
  }

  size_t rows_;
  size_t rounds_;
  std::vector<Entry> entries_;
  std::vector<std::unique_ptr<Contender>> tables_;
  std::vector<float> gradients_;
  std::vector<float> outs_[kMostThreads];
  uint64_t draws_ = 0;
};

std::vector<Entry> all_entries() {
  std::vector<Entry> all;
  const auto add = [&all](std::vector<Entry> some) { all.insert(all.end(), some.begin(), some.end()); };
  add(ours_entries());
  add(ceiling_entries());
#ifdef HAVE_LIBCUCKOO
  add(libcuckoo_entries());
#endif
#ifdef HAVE_ABSL
  add(absl_entries());
#endif
#ifdef HAVE_BOOST
  add(boost_entries());
#endif
  return all;
}

}  // namespace
}  // namespace freshet::bench

int main(int argc, char** argv) {
  using namespace freshet::bench;
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s ROWS ROUNDS [CONTENDER ...]\n", argv[0]);
    return 2;
  }
  std::vector<Entry> entries = all_entries();
  const auto is_wanted = [&](const Entry& entry) {
    return argc == 3 ||
           std::any_of(argv + 3, argv + argc, [&](const char* name) { return entry.name == name; });
  };
  std::erase_if(entries, [&](const Entry& entry) { return !is_wanted(entry); });
  Bench(std::strtoull(argv[1], nullptr, 10), std::strtoull(argv[2], nullptr, 10), entries).run();
}
