// The ids of a table's rows in random order, with a hand that goes round.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace freshet {

// Every id that has a row is in it, and perhaps ids that have none any more: whoever meets them drops them.
// The order is random but given by the order of the insertions alone, not by where rows lie: the next ids at
// the hand are a random sample, and the same in every process that has done the same.
//
// 8 bytes an id, in blocks: it grows without moving. Not thread-safe: the table's bounds have the lock.
class Roster {
 public:
  void insert(int64_t id);
  size_t size() const { return ids_.size(); }
  // The next `most` ids at the hand, or all.
  std::vector<int64_t> next(size_t most) const;
  // Moves the hand over `passed` ids and drops those at `dropped`, distinct positions counted from the hand.
  void pass(size_t passed, const std::vector<size_t>& dropped);
  // Puts the hand where, passing as many as there are now, it passes all of them, whatever is dropped or
  // comes.
  void begin_round() { hand_ = 0; }
  std::vector<int64_t> ids() const { return {ids_.begin(), ids_.end()}; }
  // `keep`: of each place; the hand is at the first then.
  void keep_only(const std::vector<bool>& keep);
  size_t bytes() const { return ids_.size() * sizeof(int64_t) * 33 / 32; }  // and the blocks' own

  // As numbers and ids for a snapshot, and back.
  static constexpr size_t kNumbers = 2;
  void save(std::vector<int64_t>& numbers, std::vector<int64_t>& ids) const;
  void restore(const int64_t* numbers, const std::vector<int64_t>& ids);

 private:
  std::deque<int64_t> ids_;
  size_t hand_ = 0;
  uint64_t insertions_ = 0;
};

}  // namespace freshet
