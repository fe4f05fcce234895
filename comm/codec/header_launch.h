// Launchers of header.cu: the 64-byte headers of messages in device memory. Queued on `stream` (a
// cudaStream_t); each returns a cudaError_t as int. C++17: nvcc compiles this too.
#pragma once
#include <cstdint>

namespace terse::cuda {

inline constexpr int kMostHeaders = 32;
inline constexpr int kHeaderWords = 8;

// Passed to kernels by value.
struct HeaderBatch {
  int count = 0;
  unsigned char* message[kMostHeaders];
  uint64_t header[kMostHeaders][kHeaderWords];  // to write, or to expect
};

// Page-locked host memory that kernels write to: the first header that was not as expected.
struct HeaderVerdict {
  uint32_t wrong = 0;
  uint64_t expected[kHeaderWords];
  uint64_t found[kHeaderWords];
};

int write_headers(const HeaderBatch& batch, void* stream);
int check_headers(const HeaderBatch& batch, HeaderVerdict* verdict, void* stream);

}  // namespace terse::cuda
