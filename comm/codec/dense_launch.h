// Launchers of dense.cu: the twins of kernels/dense.cc, with the same bits. Device memory, queued
// on `stream` (a cudaStream_t); each returns a cudaError_t as int. C++17: nvcc compiles this too.
#pragma once
#include <cstdint>

namespace terse::cuda {

inline constexpr int64_t kMostRows = 64;
struct Rows {
  const void* at[kMostRows];
};

int bf16_encode(const float* in, int64_t n, uint16_t* out, void* stream);
int bf16_decode(const uint16_t* in, int64_t n, float* out, void* stream);
// out = factor * ([out +] rows[0] + rows[1] + ...), in this order.
int sum_rows(bool bf16, const Rows& rows, int64_t count, int64_t n, bool add, float factor,
             float* out, void* stream);

}  // namespace terse::cuda
