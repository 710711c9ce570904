// Memory for the peers on the same pages that ours asks for.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>

#include "contender.h"
#include "prefetch.h"
#include "row_space.h"

namespace freshet::bench {

// Zeroed as it is touched, on huge pages where the system gives them. Throws std::bad_alloc.
void* map_huge(size_t bytes);
void unmap_huge(void* memory, size_t bytes);

// Memory that a contender is to take, given back to the system just before, which takes 8 µs for 2 MiB. The
// host of a virtual machine may take what stays free for a second or two, and is slow to give it again, for
// which no contender is to pay; one that doubles all it has gets all of it at its start, and may.
class WarmMemory {
 public:
  explicit WarmMemory(size_t bytes);
  ~WarmMemory();
  WarmMemory(const WarmMemory&) = delete;
  WarmMemory& operator=(const WarmMemory&) = delete;

  // The first `bytes` of it, or all there is, are free from here on. Thread-safe.
  void give_back(size_t bytes);

 private:
  size_t bytes_;
  std::byte* memory_;
  std::mutex mutex_;
  size_t given_back_ = 0;  // guarded by mutex_
};

// For containers: large arrays on huge pages, small ones on the heap.
template <class T>
struct HugeAllocator {
  using value_type = T;

  HugeAllocator() = default;
  template <class Other>
  HugeAllocator(const HugeAllocator<Other>&) {}  // NOLINT: containers convert

  T* allocate(size_t n) {
    if (is_huge(n)) return static_cast<T*>(map_huge(n * sizeof(T)));
    return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{alignof(T)}));
  }
  void deallocate(T* memory, size_t n) {
    if (is_huge(n)) {
      unmap_huge(memory, n * sizeof(T));
    } else {
      ::operator delete (memory, std::align_val_t{alignof(T)});
    }
  }
  bool operator==(const HugeAllocator&) const { return true; }

 private:
  static bool is_huge(size_t n) { return n * sizeof(T) >= size_t{1} << 20; }
};

// One after another; or with a line left out now and then, as ours are, so that rows of two lines begin in
// even and in odd ones.
enum class Layout { kDense, kSpread };

// Rows by number, address space for all of them from the start.
template <Layout kLayout>
class Rows {
 public:
  explicit Rows(size_t most_rows)
      : bytes_(offset(most_rows) * sizeof(float)), data_(static_cast<float*>(map_huge(bytes_))) {}
  ~Rows() { unmap_huge(data_, bytes_); }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  float* operator[](size_t row) const { return data_ + offset(row); }

 private:
  // In floats.
  static size_t offset(size_t row) {
    const size_t gaps = kLayout == Layout::kDense ? 0 : row / RowSpace::kRowsBetweenGaps;
    return row * kRowFloats + gaps * (kLineBytes / sizeof(float));
  }

  size_t bytes_;
  float* data_;
};

}  // namespace freshet::bench
