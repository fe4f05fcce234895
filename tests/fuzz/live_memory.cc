#include "tests/fuzz/live_memory.h"

#include <sanitizer/allocator_interface.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace terse {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// libFuzzer has a thread of its own.
std::atomic<int64_t> live = 0, limit = kNoLimit;

// Of something that is no allocation, which AddressSanitizer is about to report, 0.
int64_t size_of(const volatile void* pointer) {
  const bool ours = pointer != nullptr && __sanitizer_get_ownership(pointer) != 0;
  return ours ? static_cast<int64_t>(__sanitizer_get_allocated_size(pointer)) : 0;
}

void allocated(const volatile void* pointer, size_t) {
  const int64_t size = size_of(pointer), now = live += size;
  if (now <= limit) return;
  limit = kNoLimit;  // printing may allocate
  std::fprintf(stderr, "%lld bytes are allocated at a time, the last %lld of them here\n",
               static_cast<long long>(now), static_cast<long long>(size));
  std::abort();
}

void freed(const volatile void* pointer) {
  live -= size_of(pointer);
}

void install_once() {
  static const int installed = __sanitizer_install_malloc_and_free_hooks(&allocated, &freed);
  if (installed == 0) std::abort();  // else nothing would be limited
}

}  // namespace

LiveMemory::LiveMemory(size_t input) {
  install_once();
  live = 0;
  limit = kLiveBytes + static_cast<int64_t>(input);
}

LiveMemory::~LiveMemory() {
  limit = kNoLimit;
}

}  // namespace terse
