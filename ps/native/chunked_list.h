// A list that grows without moving what is in it, so that no batch waits for a copy of all of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "arena.h"

namespace freshet {

// Chunks as large as the list was, up to 1,024: short lists stay small. Those of 1,024 are the arena's, which
// gets them on huge pages; the others are on the heap.
template <class T>
class ChunkedList {
 public:
  explicit ChunkedList(Arena& arena) : arena_(arena) {}
  ChunkedList(const ChunkedList& other, Arena& arena) : ChunkedList(arena) {
    for (const Chunk& chunk : other.chunks_) {
      make_room();
      next_ = std::ranges::copy(other.used(chunk), next_).out;
    }
  }
  ChunkedList(const ChunkedList&) = delete;
  ChunkedList& operator=(const ChunkedList&) = delete;
  ~ChunkedList() { clear(); }

  // For one push_back.
  bool has_room() const { return next_ != end_; }
  // The next push_back throws nothing.
  void make_room() {
    if (!has_room()) add_chunk();
  }
  // While it has room.
  void push_back(const T& value) { *next_++ = value; }

  // Gives the memory back.
  void clear() {
    for (const Chunk& chunk : chunks_) free(chunk);
    std::vector<Chunk>().swap(chunks_);
    next_ = end_ = nullptr;
    size_before_ = 0;
  }

  size_t size() const { return chunks_.empty() ? 0 : size_before_ + used(chunks_.back()).size(); }
  // In order, in spans.
  template <class Visit>
  void for_each_span(Visit visit) const {
    for (const Chunk& chunk : chunks_) visit(std::span<const T>(used(chunk)));
  }
  template <class Visit>
  void for_each(Visit visit) const {
    for_each_span([&](std::span<const T> some) { std::ranges::for_each(some, visit); });
  }
  // Of the heap; the arena counts its own.
  size_t heap_bytes() const {
    size_t total = chunks_.capacity() * sizeof(Chunk);
    for (const Chunk& chunk : chunks_) total += chunk.size() == kMost ? 0 : chunk.size_bytes();
    return total;
  }

 private:
  static_assert(std::is_trivially_copyable_v<T>);
  static constexpr size_t kFewest = 8;
  static constexpr size_t kMost = 1024;

  using Chunk = std::span<T>;

  // All but the last are full.
  std::span<T> used(const Chunk& chunk) const {
    return chunk.data() + chunk.size() == end_ ? std::span(chunk.data(), next_) : chunk;
  }

  [[gnu::noinline]] void add_chunk() {
    if (chunks_.size() == chunks_.capacity()) chunks_.reserve(2 * chunks_.size() + 1);
    const size_t size_now = size(), chunk_size = std::clamp(size_now, kFewest, kMost);
    T* const data = chunk_size == kMost ? static_cast<T*>(arena_.allocate(kMost * sizeof(T)))
                                        : std::allocator<T>().allocate(chunk_size);
    chunks_.push_back({data, chunk_size});
    size_before_ = size_now;
    next_ = data;
    end_ = data + chunk_size;
  }
  void free(const Chunk& chunk) {
    if (chunk.size() == kMost) {
      arena_.free(chunk.data(), chunk.size_bytes());
    } else {
      std::allocator<T>().deallocate(chunk.data(), chunk.size());
    }
  }

  Arena& arena_;
  T* next_ = nullptr;
  T* end_ = nullptr;
  size_t size_before_ = 0;  // of the chunks before the last
  std::vector<Chunk> chunks_;
};

}  // namespace freshet
