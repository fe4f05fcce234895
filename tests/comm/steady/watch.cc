#include "tests/comm/steady/watch.h"

#include <c10/core/CPUAllocator.h>
#include <execinfo.h>
#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace {

constexpr std::size_t kBuffer = 4096;

std::atomic<bool> watching{false};
std::atomic<int64_t> objects{0}, buffers{0};
std::atomic<std::size_t> largest{0};

void note(std::size_t size) {
  if (!watching) return;
  if (size < kBuffer) {
    ++objects;
    return;
  }
  ++buffers;
  if (size > largest) largest = size;
  if (std::getenv("TERSE_SHOW_ALLOCATIONS") == nullptr) return;
  watching = false;  // backtrace() allocates
  void* frames[24];
  std::fprintf(stderr, "%zu bytes\n", size);
  backtrace_symbols_fd(frames, backtrace(frames, 24), 2);
  watching = true;
}

class WatchedAllocator final : public c10::Allocator {
 public:
  explicit WatchedAllocator(c10::Allocator* real) : real_(real) {}
  c10::DataPtr allocate(std::size_t n) override {
    note(n);
    return real_->allocate(n);
  }
  c10::DeleterFnPtr raw_deleter() const override { return real_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t n) const override {
    std::memcpy(to, from, n);
  }

 private:
  c10::Allocator* real_;
};

}  // namespace

void* operator new(std::size_t size) {
  note(size);
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace terse::testing {

void replace_allocators() {
  c10::SetCPUAllocator(new WatchedAllocator(c10::GetCPUAllocator()), 1);
}

void forget_allocations() {
  objects = buffers = 0;
  largest = 0;
}

void watch(bool on) {
  watching = on;
}

double small_objects() {
  return static_cast<double>(objects);
}

void expect_no_buffers(const std::string& what) {
  if (buffers < 4) return;
  throw std::runtime_error(fmt::format("{}: {} buffers were allocated, the largest of {} bytes",
                                       what, buffers.load(), largest.load()));
}

}  // namespace terse::testing
