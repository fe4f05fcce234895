// Launcher of sums.cu: kernels/sums.h on device memory, queued on `stream` (a cudaStream_t);
// returns a cudaError_t as int. C++17: nvcc compiles this too.
#pragma once
#include <cstdint>

namespace terse::cuda {

// parts[b] = sum over block b (kSumBlock elements) of x, or of x^2.
int block_sums(const float* x, int64_t n, bool squares, double* parts, void* stream);

}  // namespace terse::cuda
