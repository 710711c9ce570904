#include "arena.h"

#include <algorithm>
#include <bit>
#include <new>

#include "pages.h"

namespace freshet {
namespace {

size_t granules_for(size_t bytes) { return (bytes + Arena::kGranuleBytes - 1) / Arena::kGranuleBytes; }

}  // namespace

size_t Arena::Granules::gap(size_t count) const {
  for (size_t at = next(0, false); at + count <= kGranules;) {
    const size_t end = next(at, true);
    if (end - at >= count) return at;
    at = next(end, false);
  }
  return kGranules;
}

void Arena::Granules::set(size_t first, size_t count, bool taken) {
  for (size_t g = first; g < first + count; ++g) {
    const uint64_t bit = uint64_t{1} << g % 64;
    words_[g / 64] = taken ? words_[g / 64] | bit : words_[g / 64] & ~bit;
  }
}

size_t Arena::Granules::count() const {
  size_t taken = 0;
  for (const uint64_t word : words_) taken += static_cast<size_t>(std::popcount(word));
  return taken;
}

size_t Arena::Granules::next(size_t from, bool taken) const {
  for (; from < kGranules; from = (from / 64 + 1) * 64) {
    const uint64_t word = taken ? words_[from / 64] : ~words_[from / 64];
    if (const uint64_t left = word >> from % 64) return from + static_cast<size_t>(std::countr_zero(left));
  }
  return kGranules;
}

Arena::~Arena() {
  for (const Block& block : blocks_) release_pages(block.memory, kBlockBytes);
}

void* Arena::allocate(size_t bytes) {
  const size_t granules = granules_for(bytes);
  std::lock_guard lock(mutex_);
  size_t first = 0;
  Block& block = block_with_room(granules, &first);
  block.taken.set(first, granules, true);
  return block.memory + first * kGranuleBytes;
}

void Arena::free(void* memory, size_t bytes) {
  std::lock_guard lock(mutex_);
  auto* start = static_cast<std::byte*>(memory);
  const auto block = std::ranges::find_if(
      blocks_, [start](const Block& b) { return start >= b.memory && start < b.memory + kBlockBytes; });
  const size_t first = static_cast<size_t>(start - block->memory) / kGranuleBytes;
  block->taken.set(first, granules_for(bytes), false);
  block->widest = kGranules;
  if (!block->huge) discard_pages(start, granules_for(bytes) * kGranuleBytes);
  if (!block->taken.none()) return;
  if (std::byte* const surplus = take_surplus()) release_pages(surplus, kBlockBytes);
}

void Arena::keep_used() {
  std::unique_lock lock(mutex_);
  kept_blocks_ =
      blocks_.size() - static_cast<size_t>(std::ranges::count_if(blocks_, &Granules::none, &Block::taken));
  while (std::byte* const surplus = take_surplus()) {
    // Others may go on: the system takes its time.
    lock.unlock();
    release_pages(surplus, kBlockBytes);
    lock.lock();
  }
}

std::byte* Arena::take_surplus() {
  if (blocks_.size() <= kept_blocks_) return nullptr;
  const auto block = std::ranges::find_if(blocks_, &Granules::none, &Block::taken);
  if (block == blocks_.end()) return nullptr;
  std::byte* const memory = block->memory;
  blocks_.erase(block);
  return memory;
}

size_t Arena::huge_bytes() const {
  std::lock_guard lock(mutex_);
  return kBlockBytes * static_cast<size_t>(std::ranges::count_if(blocks_, &Block::huge));
}

size_t Arena::taken_bytes() const {
  std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const Block& block : blocks_) {
    total += block.huge ? kBlockBytes : block.taken.count() * kGranuleBytes;
  }
  return total;
}

bool Arena::is_huge(const void* memory) const {
  std::lock_guard lock(mutex_);
  const auto* start = static_cast<const std::byte*>(memory);
  return std::ranges::any_of(blocks_, [start](const Block& b) {
    return b.huge && start >= b.memory && start < b.memory + kBlockBytes;
  });
}

Arena::Block& Arena::block_with_room(size_t granules, size_t* first) {
  for (Block& block : blocks_) {
    if (block.widest < granules) continue;
    *first = block.taken.gap(granules);
    if (*first < kGranules) return block;
    block.widest = granules - 1;
  }
  *first = 0;
  return add_block();
}

Arena::Block& Arena::add_block() {
  if (blocks_.size() == blocks_.capacity()) blocks_.reserve(2 * blocks_.size() + 1);
  std::byte* memory = reserve_pages(kBlockBytes);
  if (!memory) throw std::bad_alloc();
  const bool huge = system_gives_huge_pages() && blocks_.size() >= small_page_blocks_;
  try {
    commit_pages(memory, kBlockBytes);
  } catch (...) {
    release_pages(memory, kBlockBytes);
    throw;
  }
  if (huge) ask_for_huge_pages(memory, kBlockBytes);
  return blocks_.emplace_back(Block{memory, huge});
}

}  // namespace freshet
