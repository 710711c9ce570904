#include "admission_filter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "hash.h"
#include "prefetch.h"

namespace freshet {
namespace {

static_assert(std::endian::native == std::endian::little);  // halves are read as the low bytes of a word

constexpr uint64_t kHalfMask = (uint64_t{1} << 56) - 1;  // two cells

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

}  // namespace

AdmissionFilter::AdmissionFilter(uint32_t min_count, int64_t window_ms, size_t tracked_ids, uint64_t seed)
    : min_count_(min_count),
      half_window_ms_(window_ms == 0 ? 0 : std::max<int64_t>(window_ms / 2, 1)),
      tracked_ids_(tracked_ids),
      seed_(seed),
      count_bits_(static_cast<unsigned>(std::bit_width(min_count - 2))),
      buckets_(static_cast<uint32_t>(tracked_ids * 10 / (9 * kSlots) + 1)),
      purged_(buckets_),
      cells_(buckets_ * kBucketBytes + 1) {}  // the last half is read as 8 bytes

void AdmissionFilter::advance_to(int64_t now_ms) {
  if (half_window_ms_ == 0) return;
  const int64_t halves = floor_divide(now_ms, half_window_ms_);
  if (halves_ == kNever) halves_ = halves;
  const int64_t ahead = halves - halves_;
  // One step back is the clock's jitter at a border; further back, time itself has been set back.
  const bool moves = ahead > 0 || ahead < -1;
  if (ahead == 1) {
    advance();
  } else if (moves) {
    clear();
  }
  if (moves) halves_ = halves;
  purge(kPurgedPerAdvance);
}

bool AdmissionFilter::sight(int64_t id) {
  const Home at = home(id);
  uint32_t seen = 0;
  for_each_match(at, [&](uint32_t, unsigned, uint32_t cell) { seen += count_of(cell); });
  if (seen + 1 >= min_count_) {
    for_each_match(at, [&](uint32_t bucket, unsigned slot, uint32_t) {
      set_cell(bucket, slot, 0);
      --used_;
    });
    return true;
  }
  bool counted = false;
  for_each_match(at, [&](uint32_t bucket, unsigned slot, uint32_t cell) {
    if (counted || cell >> kGenerationShift != generation_) return;
    set_cell(bucket, slot, cell + 1);
    counted = true;
  });
  if (!counted) insert(at);
  return false;
}

uint32_t AdmissionFilter::count(int64_t id) const {
  uint32_t seen = 0;
  for_each_match(home(id), [&](uint32_t, unsigned, uint32_t cell) { seen += count_of(cell); });
  return seen;
}

void AdmissionFilter::prefetch_cells(int64_t id) const {
  const Home at = home(id);
  prefetch(cells_.data() + at.first * kBucketBytes, kBucketBytes);
  prefetch(cells_.data() + at.second * kBucketBytes, kBucketBytes);
}

double AdmissionFilter::false_share() const {
  return std::ldexp(2.0 * kSlots, -static_cast<int>(kGenerationShift - count_bits_));
}

void AdmissionFilter::save(std::vector<int64_t>& numbers, std::vector<uint8_t>& cells) const {
  for (uint64_t n :
       {uint64_t{min_count_}, static_cast<uint64_t>(half_window_ms_), uint64_t{tracked_ids_}, seed_,
        uint64_t{generation_}, static_cast<uint64_t>(halves_), uint64_t{used_}, uint64_t{purged_}, kicks_}) {
    numbers.push_back(static_cast<int64_t>(n));
  }
  cells = cells_;
}

bool AdmissionFilter::restore(const int64_t* numbers, const std::vector<uint8_t>& cells) {
  const bool fits = numbers[0] == min_count_ && numbers[1] == half_window_ms_ &&
                    static_cast<uint64_t>(numbers[2]) == tracked_ids_ &&
                    static_cast<uint64_t>(numbers[3]) == seed_ && cells.size() == cells_.size();
  if (!fits) return false;
  generation_ = static_cast<uint32_t>(numbers[4]);
  halves_ = numbers[5];
  used_ = static_cast<size_t>(numbers[6]);
  purged_ = static_cast<size_t>(numbers[7]);
  kicks_ = static_cast<uint64_t>(numbers[8]);
  cells_ = cells;
  return true;
}

AdmissionFilter::Home AdmissionFilter::home(int64_t id) const {
  const uint64_t hash = mix(static_cast<uint64_t>(id), seed_);
  const uint32_t first = scale_to(static_cast<uint32_t>(hash >> 32), buckets_);
  const uint32_t fingerprint = static_cast<uint32_t>(hash) & ((1u << (kGenerationShift - count_bits_)) - 1);
  return {first, other(first, fingerprint), fingerprint};
}

// Its own inverse.
uint32_t AdmissionFilter::other(uint32_t bucket, uint32_t fingerprint) const {
  const uint32_t sum = scale_to(static_cast<uint32_t>(mix(fingerprint, seed_) >> 32), buckets_);
  return sum >= bucket ? sum - bucket : sum + buckets_ - bucket;
}

uint32_t AdmissionFilter::cell(uint32_t bucket, unsigned slot) const {
  uint64_t two;
  std::memcpy(&two, cells_.data() + bucket * kBucketBytes + slot / 2 * 7, sizeof(two));
  return static_cast<uint32_t>((two & kHalfMask) >> slot % 2 * kCellBits) & ((1u << kCellBits) - 1);
}

void AdmissionFilter::set_cell(uint32_t bucket, unsigned slot, uint32_t cell) {
  const unsigned shift = slot % 2 * kCellBits;
  uint64_t two;
  std::memcpy(&two, half(bucket, slot), sizeof(two));
  two &= ~(((uint64_t{1} << kCellBits) - 1) << shift);
  two |= uint64_t{cell} << shift;
  std::memcpy(half(bucket, slot), &two, 7);
}

template <class Visit>
void AdmissionFilter::for_each_match(const Home& home, Visit visit) const {
  const uint32_t buckets[] = {home.first, home.second};
  for (unsigned b = 0; b < 1u + (home.first != home.second); ++b) {
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      const uint32_t found = cell(buckets[b], slot);
      if (!is_free(found) && fingerprint_of(found) == home.fingerprint) visit(buckets[b], slot, found);
    }
  }
}

void AdmissionFilter::insert(const Home& home) {
  if (used_ >= tracked_ids_) purge(buckets_);
  while (used_ >= tracked_ids_) {
    ++overflows_;
    advance();
    purge(buckets_);
  }
  uint32_t in_hand = generation_ << kGenerationShift | home.fingerprint << count_bits_;
  if (put(home.first, in_hand) || put(home.second, in_hand)) return;
  uint32_t bucket = home.first;
  for (unsigned kick = 0; kick < kMostKicks; ++kick) {
    const auto slot = static_cast<unsigned>(mix(++kicks_, seed_) % kSlots);
    const uint32_t moved = cell(bucket, slot);
    set_cell(bucket, slot, in_hand);
    in_hand = moved;
    bucket = other(bucket, fingerprint_of(in_hand));
    if (put(bucket, in_hand)) return;
  }
  // The one in hand is forgotten: its id needs more sightings, which is the safe side. At a load of 0.9 it
  // takes many ids made to collide to get here.
}

bool AdmissionFilter::put(uint32_t bucket, uint32_t in_hand) {
  for (unsigned slot = 0; slot < kSlots; ++slot) {
    const uint32_t there = cell(bucket, slot);
    if (!is_free(there)) continue;
    used_ += there == 0;
    set_cell(bucket, slot, in_hand);
    return true;
  }
  return false;
}

void AdmissionFilter::advance() {
  purge(buckets_);
  generation_ = stale();
  purged_ = 0;
}

void AdmissionFilter::purge(size_t buckets) {
  const size_t end = std::min<size_t>(buckets_, purged_ + buckets);
  for (; purged_ < end; ++purged_) {
    const auto bucket = static_cast<uint32_t>(purged_);
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      if (cell(bucket, slot) >> kGenerationShift != stale()) continue;
      set_cell(bucket, slot, 0);
      --used_;
    }
  }
}

void AdmissionFilter::clear() {
  std::ranges::fill(cells_, uint8_t{0});
  used_ = 0;
  purged_ = buckets_;
}

}  // namespace freshet
