// Payloads in device memory, passed to kernels by value. C++17: nvcc compiles this too.
#pragma once
#include <cstdint>

namespace terse::cuda {

inline constexpr int64_t kMostPayloads = 64;
struct Payloads {
  unsigned char* at[kMostPayloads];
};

}  // namespace terse::cuda
