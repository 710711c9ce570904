#include "pending_cut.h"

#include <algorithm>

namespace freshet {

void PendingCut::end() {
  pending_ = false;
  std::vector<Block>().swap(blocks_);
}

size_t PendingCut::bytes() const {
  size_t total = blocks_.capacity() * sizeof(Block);
  for (const Block& block : blocks_) {
    total += block.hashes.capacity() * (sizeof(uint64_t) + sizeof(RowMeta)) + block.rows.capacity();
  }
  return total;
}

void PendingCut::keep(uint64_t hash, uint32_t row, RowStore& rows) {
  const size_t row_bytes = rows.row_bytes();
  if (blocks_.empty() || blocks_.back().hashes.size() == blocks_.back().hashes.capacity()) {
    const size_t room = std::max<size_t>(1, kBlockBytes / row_bytes);
    Block block;
    block.hashes.reserve(room);
    block.meta.reserve(room);
    block.rows.reserve(room * row_bytes);
    blocks_.push_back(std::move(block));
  }
  Block& block = blocks_.back();
  block.hashes.push_back(hash);
  block.meta.push_back(rows.meta(row));
  block.rows.insert(block.rows.end(), rows.at(row), rows.at(row) + row_bytes);
  settle(rows.meta(row));
}

}  // namespace freshet
