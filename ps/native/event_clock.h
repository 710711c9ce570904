// The event time of a table, guarded against events from the future.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace freshet {

// The median of the times of the last 31 batches: fewer than 16 that are wrong can't move it to where no
// right one was, and it comes back by itself. It knows nothing of the wall clock, so a replay gives the same
// times.
class EventClock {
 public:
  static constexpr size_t kBatches = 31;

  void note(int64_t ts_ms) { times_ms_[noted_++ % kBatches] = ts_ms; }
  // Nothing until 31 batches were noted: the first ones may be the wrong ones.
  std::optional<int64_t> now_ms() const {
    if (noted_ < kBatches) return std::nullopt;
    std::array<int64_t, kBatches> sorted = times_ms_;
    std::ranges::nth_element(sorted, sorted.begin() + kBatches / 2);
    return sorted[kBatches / 2];
  }

  // As numbers for a snapshot, and back.
  static constexpr size_t kNumbers = kBatches + 1;
  void save(std::vector<int64_t>& numbers) const {
    numbers.push_back(static_cast<int64_t>(noted_));
    numbers.insert(numbers.end(), times_ms_.begin(), times_ms_.end());
  }
  void restore(const int64_t* numbers) {
    noted_ = static_cast<uint64_t>(numbers[0]);
    std::copy_n(numbers + 1, kBatches, times_ms_.begin());
  }

 private:
  uint64_t noted_ = 0;
  std::array<int64_t, kBatches> times_ms_{};
};

}  // namespace freshet
