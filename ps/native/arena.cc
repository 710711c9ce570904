#include "arena.h"

#include <algorithm>
#include <bit>
#include <new>

#include "pages.h"

namespace freshet {
namespace {

constexpr unsigned kGranulesPerBlock = Arena::kBlockBytes / Arena::kGranuleBytes;
static_assert(kGranulesPerBlock == 64);

uint64_t run_of_ones(size_t granules) {
  return granules == 64 ? ~uint64_t{0} : (uint64_t{1} << granules) - 1;
}

size_t granules_for(size_t bytes) { return (bytes + Arena::kGranuleBytes - 1) / Arena::kGranuleBytes; }

// First position of `granules` zeros in a row, or 64.
unsigned first_gap(uint64_t used, size_t granules) {
  uint64_t starts = ~used;
  for (size_t i = 1; i < granules && starts; ++i) starts &= starts >> 1;
  const unsigned first = static_cast<unsigned>(std::countr_zero(starts));
  return first + granules <= 64 ? first : 64;
}

}  // namespace

Arena::~Arena() {
  for (const Block& block : blocks_) release_pages(block.memory, kBlockBytes);
}

void* Arena::allocate(size_t bytes) {
  const size_t granules = granules_for(bytes);
  std::lock_guard lock(mutex_);
  unsigned first = 0;
  Block& block = block_with_room(granules, &first);
  block.used |= run_of_ones(granules) << first;
  return block.memory + first * kGranuleBytes;
}

void Arena::free(void* memory, size_t bytes) {
  std::lock_guard lock(mutex_);
  auto* start = static_cast<std::byte*>(memory);
  const auto block = std::ranges::find_if(
      blocks_, [start](const Block& b) { return start >= b.memory && start < b.memory + kBlockBytes; });
  const size_t first = static_cast<size_t>(start - block->memory) / kGranuleBytes;
  block->used &= ~(run_of_ones(granules_for(bytes)) << first);
  if (!block->huge) discard_pages(start, granules_for(bytes) * kGranuleBytes);
  if (block->used) return;
  release_pages(block->memory, kBlockBytes);
  blocks_.erase(block);
}

size_t Arena::huge_bytes() const {
  std::lock_guard lock(mutex_);
  return kBlockBytes * static_cast<size_t>(std::ranges::count_if(blocks_, &Block::huge));
}

bool Arena::is_huge(const void* memory) const {
  std::lock_guard lock(mutex_);
  const auto* start = static_cast<const std::byte*>(memory);
  return std::ranges::any_of(blocks_, [start](const Block& b) {
    return b.huge && start >= b.memory && start < b.memory + kBlockBytes;
  });
}

Arena::Block& Arena::block_with_room(size_t granules, unsigned* first) {
  for (Block& block : blocks_) {
    *first = first_gap(block.used, granules);
    if (*first < kGranulesPerBlock) return block;
  }
  *first = 0;
  return add_block();
}

Arena::Block& Arena::add_block() {
  if (blocks_.size() == blocks_.capacity()) blocks_.reserve(2 * blocks_.size() + 1);
  std::byte* memory = reserve_pages(kBlockBytes);
  if (!memory) throw std::bad_alloc();
  const bool huge = system_gives_huge_pages() && blocks_.size() >= kSmallPageBlocks;
  try {
    commit_pages(memory, kBlockBytes);
  } catch (...) {
    release_pages(memory, kBlockBytes);
    throw;
  }
  if (huge) ask_for_huge_pages(memory, kBlockBytes);
  return blocks_.emplace_back(Block{memory, 0, huge});
}

}  // namespace freshet
