// Memory for the peers on the same pages that ours asks for.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace freshet::bench {

// Zeroed as it is touched, on huge pages where the system gives them. Throws std::bad_alloc.
void* map_huge(size_t bytes);
void unmap_huge(void* memory, size_t bytes);

// Takes memory and gives it back: a virtual machine's host is slow the first time, and no contender is to
// pay.
void warm_memory(size_t bytes);

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

// Rows by number, address space for all of them from the start.
class Rows {
 public:
  explicit Rows(size_t most_rows);
  ~Rows();
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  float* operator[](size_t row) const;

 private:
  size_t bytes_;
  float* data_;
};

}  // namespace freshet::bench
