#include "trainer/model/memory_counter.h"

#include <c10/core/Allocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <atomic>
#include <cstring>

namespace terse {
namespace {

constexpr size_t kHeader = 64;  // holds the size; keeps the alignment

std::atomic<int64_t> live_bytes{0}, peak_bytes{0};

void add(int64_t bytes) {
  const int64_t now = live_bytes.fetch_add(bytes) + bytes;
  int64_t highest = peak_bytes.load();
  while (now > highest && !peak_bytes.compare_exchange_weak(highest, now)) {
  }
}

// What raw_allocate() hands out is freed by its pointer alone, so the header is found from that.
void release(void* data) {
  void* memory = static_cast<std::byte*>(data) - kHeader;
  int64_t bytes = 0;
  std::memcpy(&bytes, memory, sizeof bytes);
  live_bytes.fetch_sub(bytes);
  c10::free_cpu(memory);
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t size) override {
    void* memory = c10::alloc_cpu(size + kHeader);
    const auto bytes = static_cast<int64_t>(size);
    std::memcpy(memory, &bytes, sizeof bytes);
    add(bytes);
    void* data = static_cast<std::byte*>(memory) + kHeader;
    return {data, data, &release, c10::DeviceType::CPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(to, from, count);
  }
};

}  // namespace

void MemoryCounter::install() {
  static CountingAllocator allocator;
  c10::SetAllocator(c10::DeviceType::CPU, &allocator, 1);
}

int64_t MemoryCounter::live() {
  return live_bytes;
}
int64_t MemoryCounter::peak() {
  return peak_bytes;
}
void MemoryCounter::restart_peak() {
  peak_bytes = live_bytes.load();
}

}  // namespace terse
