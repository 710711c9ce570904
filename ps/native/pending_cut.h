// What a cut has still to read of one segment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "row_store.h"

namespace freshet {

// A bit of each row tells whether the cut still owes it. Which value says so changes from cut to cut, so that
// a cut begins without going over the rows; when none is pending, no row is owed. Not thread-safe.
class PendingCut {
 public:
  PendingCut() = default;
  // For a copy of the rows: nothing is pending there.
  explicit PendingCut(bool settled) : settled_(settled) {}

  // Every row there is belongs to the cut.
  void begin() {
    pending_ = true;
    settled_ = !settled_;
  }
  // All rows must be settled.
  void end();
  bool pending() const { return pending_; }
  bool settled() const { return settled_; }
  bool owes(const RowMeta& meta) const { return meta.cut_bit() != settled_; }
  // It was read, or is new.
  void settle(RowMeta& meta) const { meta.set_cut_bit(settled_); }

  // Before a row changes or is freed: an owed one is kept as it is.
  void preserve(uint64_t hash, uint32_t row, RowStore& rows) {
    if (pending_ && owes(rows.meta(row))) keep(hash, row, rows);
  }
  // Gives `visit(hash, row, meta)` up to `most` rows that were kept, and forgets them. How many.
  template <class Visit>
  size_t take(size_t most, Visit visit) {
    size_t taken = 0;
    for (; taken < most && !blocks_.empty(); ++taken) {
      Block& block = blocks_.back();
      const size_t row_bytes = block.rows.size() / block.hashes.size();
      visit(block.hashes.back(), block.rows.data() + block.rows.size() - row_bytes, block.meta.back());
      block.hashes.pop_back();
      block.meta.pop_back();
      block.rows.resize(block.rows.size() - row_bytes);
      if (block.hashes.empty()) blocks_.pop_back();
    }
    return taken;
  }
  size_t bytes() const;

 private:
  static constexpr size_t kBlockBytes = size_t{256} << 10;

  // Blocks, because one array that grows would stop a batch to be copied.
  struct Block {
    std::vector<uint64_t> hashes;
    std::vector<RowMeta> meta;
    std::vector<std::byte> rows;
  };

  void keep(uint64_t hash, uint32_t row, RowStore& rows);

  bool pending_ = false;
  bool settled_ = false;
  std::vector<Block> blocks_;
};

}  // namespace freshet
