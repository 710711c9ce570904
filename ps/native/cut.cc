#include "cut.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "hash.h"
#include "prefetch.h"

namespace freshet {
namespace {

// How long a segment stays locked: about half a millisecond.
constexpr size_t kBytesPerLock = size_t{512} << 10;
constexpr size_t kPrefetchedRows = 16;

}  // namespace

void Items::append(int64_t id, const std::byte* row, const RowMeta& meta, const RowCodec& codec) {
  rows.resize(rows.size() + codec.floats());
  codec.read(row, rows.data() + rows.size() - codec.floats());
  ids.push_back(id);
  last_update_ms.push_back(meta.last_update_ms());
  counts.push_back(meta.count());
}

Cut::Cut(const Segments& segments, const RowCodec& codec, uint64_t placement_seed)
    : segments_(segments), codec_(codec), placement_seed_(placement_seed) {
  SegmentLocks<Access::kExclusive> locks(segments_);
  locks.acquire_all();
  if (segments_.back()->cut.pending()) {
    throw std::invalid_argument("another cut of this table is not read to its end yet");
  }
  for (const auto& segment : segments_) segment->cut.begin();
}

void Cut::close() {
  for (; segment_ < kSegments; ++segment_) {
    Segment& segment = *segments_[segment_];
    std::lock_guard lock(segment.mutex);
    segment.map.for_each([&](uint64_t, uint32_t row) { segment.cut.settle(segment.rows.meta(row)); });
    segment.cut.end();
  }
}

Items Cut::next(size_t most) {
  const size_t per_lock = std::max<size_t>(1, kBytesPerLock / codec_.row_bytes());
  Items items;
  while (segment_ < kSegments && items.ids.size() < most) {
    Segment& segment = *segments_[segment_];
    std::lock_guard lock(segment.mutex);
    read(segment, std::min(most - items.ids.size(), per_lock), items);
  }
  return items;
}

void Cut::read(Segment& segment, size_t most, Items& items) {
  if (piece_ < segment.map.pieces()) {
    read_piece(segment, most, items);
    return;
  }
  const size_t taken = segment.cut.take(most, [&](uint64_t hash, const std::byte* row, const RowMeta& meta) {
    items.append(id_of(hash), row, meta, codec_);
  });
  if (taken > 0) return;
  segment.cut.end();
  ++segment_;
  piece_ = 0;
}

void Cut::read_piece(Segment& segment, size_t most, Items& items) {
  keys_.clear();
  segment.map.for_each_of(piece_, [this](uint64_t hash, uint32_t row) { keys_.push_back({hash, row}); });
  const size_t end = items.ids.size() + most;
  size_t i = 0;
  for (; i < keys_.size() && items.ids.size() < end; ++i) {
    const uint32_t ahead = keys_[std::min(i + kPrefetchedRows, keys_.size() - 1)].row;
    prefetch(&segment.rows.meta(ahead), sizeof(RowMeta));
    prefetch(segment.rows.at(ahead), codec_.row_bytes());
    RowMeta& meta = segment.rows.meta(keys_[i].row);
    if (!segment.cut.owes(meta)) continue;
    items.append(id_of(keys_[i].hash), segment.rows.at(keys_[i].row), meta, codec_);
    segment.cut.settle(meta);
  }
  if (i == keys_.size()) ++piece_;
}

int64_t Cut::id_of(uint64_t hash) const { return static_cast<int64_t>(unmix(hash, placement_seed_)); }

}  // namespace freshet
