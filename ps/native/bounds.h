// Who gets a row, who loses it, and when: admission, expiry and the limit of rows of one table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "admission_filter.h"
#include "bounded_rows.h"
#include "event_clock.h"
#include "roster.h"

namespace freshet {

enum class WhenFull { kOldest, kLeastFrequent, kRefuse };

struct BoundsConfig {
  uint32_t min_count;       // sightings until an id gets a row; 1: the first is enough
  int64_t window_ms;        // in which they must lie; 0: whenever
  size_t tracked_ids;       // the filter's capacity
  double probability;       // that a sighting is enough; 1: always
  int64_t expire_after_ms;  // since the last update; 0: never
  size_t max_rows;
  WhenFull when_full;
  size_t slice_rows;  // that a batch looks at for expiry
  size_t room_rows;   // that it looks at to make room, or twice the new ids
  uint64_t seed;      // of the chances and the filter
};

// What has happened, in ids. One id of one batch is one sighting.
struct BoundsCounts {
  uint64_t admitted = 0;   // got a row
  uint64_t refused = 0;    // sightings that were not enough
  uint64_t full = 0;       // sightings that found the table full
  uint64_t expired = 0;    // rows removed for their age
  uint64_t evicted = 0;    // rows removed to make room
  uint64_t overflows = 0;  // times the filter gave up half of its window for want of cells

  bool operator==(const BoundsCounts&) const = default;
};

// As arrays for a snapshot.
struct BoundsState {
  std::vector<int64_t> numbers;
  std::vector<int64_t> roster;
  std::vector<uint8_t> filter;
};

// Everything it does is a function of the batches, their order and their times, never of the wall clock, of
// threads or of where rows lie: the same batches after a restore come to the same rows. Its work per batch is
// bounded by `slice_rows` and `room_rows`.
//
// Not thread-safe: whoever has bounds runs one change at a time.
class Bounds {
 public:
  explicit Bounds(const BoundsConfig& config);
  Bounds(const Bounds& other);
  Bounds& operator=(const Bounds&) = delete;

  // Before a batch of gradients: marks in `skip` (n long, or empty for none) the ids that have no row and get
  // none, and removes rows to make room for the others.
  void begin_batch(BoundedRows& table, const int64_t* ids, size_t n, int64_t ts_ms, std::vector<bool>& skip);
  // After it: removes the rows among the next few that have expired.
  void end_batch(BoundedRows& table);
  // All rows are to be looked at by the next calls of `sweep`, though they are not due yet.
  void start_pass() {
    roster_.begin_round();
    owed_rows_ = roster_.size();
  }
  // Removes those of the next slice that have expired; how many rows are still to be looked at.
  size_t sweep(BoundedRows& table);
  // Before `ids` are given rows whatever the bounds say.
  void enroll(const BoundedRows& table, const int64_t* ids, size_t n);
  // After `rows` rows were removed by their owner.
  void forget(const BoundedRows& table, size_t rows);
  // After a change that failed in the middle: rows may have come or gone that it has not been told of. Takes
  // no memory.
  void recount(const BoundedRows& table) { strays_ = roster_.size() - table.size(); }

  std::optional<int64_t> now_ms() const { return clock_.now_ms(); }
  BoundsCounts counts() const;
  size_t bytes() const;
  BoundsState save() const;
  // `state` without the filter when that is of another layout: false. Throws std::invalid_argument.
  bool restore(const BoundedRows& table, const BoundsState& state);

 private:
  class Presence;
  struct Window {
    std::vector<int64_t> ids;
    std::vector<Stamp> stamps;
  };

  std::vector<size_t> admitted(const int64_t* ids, const std::vector<size_t>& absent, size_t room,
                               std::vector<bool>& skip);
  bool admits(int64_t id);
  size_t make_room(BoundedRows& table, size_t free, size_t wanted, const Presence& batch,
                   const std::vector<bool>& skip);
  size_t evict(BoundedRows& table, size_t need, const std::unordered_set<int64_t>& spared);
  std::vector<size_t> victims(const Window& window, size_t need,
                              const std::unordered_set<int64_t>& spared) const;
  Window look(const BoundedRows& table, size_t most) const;
  void restamp(BoundedRows& table, const Window& window, int64_t now_ms) const;
  void owe_rows(int64_t now_ms);
  size_t rows() const { return roster_.size() - strays_; }
  void pass(BoundedRows& table, const Window& window, const std::vector<size_t>& dropped);
  void drop_strays(const BoundedRows& table);

  BoundsConfig config_;
  EventClock clock_;
  std::unique_ptr<AdmissionFilter> filter_;
  Roster roster_;
  BoundsCounts counts_;
  uint64_t batches_ = 0;
  int64_t swept_ms_ = 0;  // up to here the clock's advance has been turned into rows to look at
  size_t owed_rows_ = 0;  // of these, not yet looked at
  size_t strays_ = 0;     // places of the roster without a row of their own
};

}  // namespace freshet
