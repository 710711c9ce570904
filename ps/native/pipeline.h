// The prefetch pipeline that all batch calls run through.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "batch.h"
#include "prefetch.h"
#include "segment.h"
#include "segment_locks.h"

namespace freshet {

inline constexpr uint32_t kMostVisited = 64;  // ids at once

// Makes a visitor of one that takes one id at a time: `visit(segment, probe, row)`.
template <class Visit>
auto one_by_one(Visit visit) {
  return [visit](Segment & segment, std::span<const Probe> probes, const uint32_t* rows) mutable
      __attribute__((always_inline)) {
    for (size_t i = 0; i < probes.size(); ++i) visit(segment, probes[i], rows[i]);
  };
}

// Cuts a batch into blocks of ids of one segment and works on four blocks at once, each in a stage of its
// own, so that the memory of one is on its way while others are worked on: (1) take the lock, prefetch the
// first buckets; (2) search them, prefetch rows, or the second buckets, which only now turn out to be needed;
// (3) search those, prefetch rows; (4) `visit(segment, probes, rows)`, rows kNoRow when absent.
//
// A visit under the exclusive lock may insert. Ids of later blocks may then have moved or come into being, so
// a visitor that gets kNoRow must look again before it believes it; the pipeline itself guards against
// buckets that are gone.
template <Access kAccess, class Prefetch, class Visit>
class Pipeline {
 public:
  Pipeline(const Segments& segments, std::span<const Probe> probes, Prefetch prefetch, Visit visit)
      : segments_(segments), probes_(probes), prefetch_(prefetch), visit_(visit), locks_(segments) {}

  // Before `run`, which takes all the others.
  void lock_first() {
    if (!probes_.empty()) locks_.acquire(segment_of(probes_[0].hash));
  }

  // Inlined by force, so that what a visit captures stays in registers.
  [[gnu::always_inline]] void run() {
    size_t blocks = 0;
    for (size_t at = 0; at < probes_.size(); ++blocks) {
      at = enter(ring_[blocks % kStages], at);
      if (blocks >= 1) search_first(ring_[(blocks - 1) % kStages]);
      if (blocks >= 2) search_second(ring_[(blocks - 2) % kStages]);
      if (blocks >= 3) finish(ring_[(blocks - 3) % kStages]);
    }
    if (blocks >= 1) search_first(ring_[(blocks - 1) % kStages]);
    if (blocks >= 2) search_second(ring_[(blocks - 2) % kStages]);
    if (blocks >= 1) search_second(ring_[(blocks - 1) % kStages]);
    for (size_t b = blocks - std::min<size_t>(blocks, 3); b < blocks; ++b) finish(ring_[b % kStages]);
  }

 private:
  static constexpr size_t kStages = 4;
  static constexpr uint32_t kBlock = kMostVisited;

  struct Block {
    Segment* segment;
    const Probe* probes;
    uint64_t version;
    uint32_t size;
    uint32_t missed;  // how many of `misses` are used; as many of `first` are their second buckets then
    bool ends_segment;
    const Bucket* first[kBlock];
    uint32_t rows[kBlock];
    uint8_t misses[kBlock];  // not in their first bucket, perhaps in the second
  };

  // The position after the block.
  size_t enter(Block& block, size_t at) {
    const size_t s = segment_of(probes_[at].hash);
    if (at > 0 && segment_of(probes_[at - 1].hash) != s) locks_.acquire(s);
    const size_t most = std::min(probes_.size(), at + kBlock);
    size_t end = most;
    if (segment_of(probes_[most - 1].hash) != s) {  // of a long batch, one block in three
      for (end = at + 1; segment_of(probes_[end].hash) == s;) ++end;
    }
    block.segment = segments_[s].get();
    block.probes = &probes_[at];
    block.version = block.segment->map.version();
    block.size = static_cast<uint32_t>(end - at);
    block.ends_segment = end == probes_.size() || segment_of(probes_[end].hash) != s;
    prefetch_first(block);
    return end;
  }

  void prefetch_first(Block& block) const {
    const GrowingMap& map = block.segment->map;
    for (uint32_t i = 0; i < block.size; ++i) {
      block.first[i] = map.piece(block.probes[i].hash).first(block.probes[i].hash);
      prefetch(block.first[i]);
    }
  }

  bool is_stale(const Block& block) const {
    return kAccess == Access::kExclusive && block.segment->map.version() != block.version;
  }

  // An insert will want the second bucket too when the first is full.
  static bool needs_second(const Bucket& bucket) {
    return bucket.away != 0 || (kAccess == Access::kExclusive && bucket.full());
  }

  static uint32_t all_ones_if(bool condition) { return -static_cast<uint32_t>(condition); }
  static_assert(kNoRow == 0xffffffff);  // so that `| absent` makes it

  void search_first(Block& block) const {
    block.missed = 0;
    if (is_stale(block)) {
      std::fill_n(block.rows, block.size, kNoRow);
      return;
    }
    // No branch on what is found: one in five is not in its first bucket, and no predictor knows which.
    // Masks, because a compiler makes a branch of a choice.
    uint32_t missed = 0;
    for (uint32_t i = 0; i < block.size; ++i) {
      const Bucket& bucket = *block.first[i];
      const unsigned match = bucket.match_of(block.probes[i].hash);
      const unsigned slot = static_cast<unsigned>(std::countr_zero(match | 1u << (kSlots - 1)));
      const uint32_t absent = all_ones_if(match == 0);
      block.rows[i] = bucket.rows[slot] | absent;
      block.misses[missed] = static_cast<uint8_t>(i);
      missed += absent & static_cast<uint32_t>(needs_second(bucket));
    }
    block.missed = missed;
    const GrowingMap& map = block.segment->map;
    for (uint32_t m = 0; m < missed; ++m) {
      const uint64_t hash = block.probes[block.misses[m]].hash;
      block.first[m] = map.piece(hash).second(hash);  // the m-th is read already: m <= misses[m]
      prefetch(block.first[m]);
    }
    prefetch_(*block.segment, std::span(block.probes, block.size), block.rows);
  }

  void search_second(Block& block) const {
    if (is_stale(block)) return;
    for (uint32_t m = 0; m < block.missed; ++m) {
      const uint32_t i = block.misses[m];
      block.rows[i] = block.first[m]->find(block.probes[i].hash);
      if (block.rows[i] != kNoRow) {
        prefetch_(*block.segment, std::span(&block.probes[i], 1), &block.rows[i]);
      } else if (kAccess == Access::kExclusive && block.first[m]->full()) {
        block.segment->map.piece(block.probes[i].hash).prefetch_moves(block.probes[i].hash);
      }
    }
  }

  void finish(Block& block) {
    visit_(*block.segment, std::span(block.probes, block.size), block.rows);
    if (block.ends_segment) locks_.release(segment_of(block.probes[0].hash));
  }

  const Segments& segments_;
  std::span<const Probe> probes_;
  Prefetch prefetch_;
  Visit visit_;
  SegmentLocks<kAccess> locks_;
  std::array<Block, kStages> ring_;
};

}  // namespace freshet
