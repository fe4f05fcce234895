// Counts the bytes of all CPU tensors of this process, so that two ways of training can be
// compared: the resident set says little where the allocator keeps freed memory
// (trainer/model/allocator.h).
#pragma once
#include <cstdint>

namespace terse {

class MemoryCounter {
 public:
  // Makes LibTorch's CPU allocator count from now on; 64 bytes more a tensor. Call before other
  // threads run; calling it again does nothing.
  static void install();
  // Bytes asked for by tensors that are alive (those made before install() left out), and the most
  // there were since restart_peak(). Thread-safe.
  static int64_t live();
  static int64_t peak();
  static void restart_peak();  // peak() = live()
};

}  // namespace terse
