// Linked with -Wl,--wrap=mmap,--wrap=mprotect, so that the table's calls come here.
#include "failing_memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace freshet {
namespace {

std::atomic<bool> armed = false;
std::atomic<bool> any_failed = false;
std::atomic<FailingMemory::Mode> how = FailingMemory::Mode::kOnce;
std::atomic<int64_t> left = 0;

bool fails_now() {
  if (!armed || (any_failed && how == FailingMemory::Mode::kOnce) || left-- > 0) return false;
  return any_failed = true;
}

void* allocate(size_t bytes, size_t alignment) {
  void* memory =
      fails_now() ? nullptr : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

FailingMemory::FailingMemory(size_t first, Mode mode, bool* failed) : failed_(failed) {
  any_failed = false;
  how = mode;
  left = static_cast<int64_t>(first);
  armed = true;
}
FailingMemory::~FailingMemory() {
  armed = false;
  *failed_ = any_failed;
}

}  // namespace freshet

void* operator new(size_t bytes) { return freshet::allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return freshet::allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

extern "C" {

void* __real_mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_mprotect(void* at, size_t bytes, int protection);

void* __wrap_mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset) {
  if (!freshet::fails_now()) return __real_mmap(at, bytes, protection, flags, file, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}

int __wrap_mprotect(void* at, size_t bytes, int protection) {
  if (!freshet::fails_now()) return __real_mprotect(at, bytes, protection);
  errno = ENOMEM;
  return -1;
}
}
