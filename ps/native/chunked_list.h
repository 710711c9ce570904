// A list that grows without moving what is in it, so that no batch waits for a copy of all of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace freshet {

// Chunks as large as the list was, up to 1,024: short lists stay small.
template <class T>
class ChunkedList {
 public:
  // The next push_back throws nothing.
  void make_room() {
    if (!chunks_.empty() && chunks_.back().size() < chunks_.back().capacity()) return;
    std::vector<T> chunk;
    chunk.reserve(std::clamp(size_, kFewest, kMost));
    chunks_.push_back(std::move(chunk));
  }
  // After make_room.
  void push_back(const T& value) {
    chunks_.back().push_back(value);
    ++size_;
  }

  // Gives the memory back.
  void clear() { *this = {}; }

  size_t size() const { return size_; }
  template <class Visit>
  void for_each(Visit visit) const {
    for (const std::vector<T>& chunk : chunks_) std::ranges::for_each(chunk, visit);
  }
  size_t bytes() const {
    size_t total = chunks_.capacity() * sizeof(std::vector<T>);
    for (const std::vector<T>& chunk : chunks_) total += chunk.capacity() * sizeof(T);
    return total;
  }

 private:
  static constexpr size_t kFewest = 8;
  static constexpr size_t kMost = 1024;

  size_t size_ = 0;
  std::vector<std::vector<T>> chunks_;
};

}  // namespace freshet
