#include <cuda_runtime.h>

#include "comm/codec/dense_launch.h"

namespace terse::cuda {
namespace {

constexpr int kThreads = 256;

__device__ int64_t element() {
  return blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
}

__device__ float widen(uint16_t h) {
  return __uint_as_float(static_cast<uint32_t>(h) << 16);
}

// base/half.h's arithmetic in integers: NaNs keep their payload, which the hardware's conversion
// does not promise.
__global__ void encode(const float* in, int64_t n, uint16_t* out) {
  const int64_t i = element();
  if (i >= n) return;
  const uint32_t u = __float_as_uint(in[i]);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40u;
  out[i] = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

__global__ void decode(const uint16_t* in, int64_t n, float* out) {
  const int64_t i = element();
  if (i < n) out[i] = widen(in[i]);
}

template <bool kBf16>
__global__ void sum(const __grid_constant__ Rows rows, int64_t count, int64_t n, bool add,
                    float factor, float* out) {
  const int64_t i = element();
  if (i >= n) return;
  float total = add ? out[i] : 0.0f;
  for (int64_t k = 0; k < count; ++k) {
    const float x = kBf16 ? widen(static_cast<const uint16_t*>(rows.at[k])[i])
                          : static_cast<const float*>(rows.at[k])[i];
    // The first is taken as it is: 0 + -0 would lose its sign.
    total = k == 0 && !add ? x : __fadd_rn(total, x);
  }
  out[i] = __fmul_rn(total, factor);
}

unsigned blocks_of(int64_t n) {
  return static_cast<unsigned>((n + kThreads - 1) / kThreads);
}

}  // namespace

int bf16_encode(const float* in, int64_t n, uint16_t* out, void* stream) {
  if (n == 0) return 0;
  encode<<<blocks_of(n), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(in, n, out);
  return cudaGetLastError();
}

int bf16_decode(const uint16_t* in, int64_t n, float* out, void* stream) {
  if (n == 0) return 0;
  decode<<<blocks_of(n), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(in, n, out);
  return cudaGetLastError();
}

int sum_rows(bool bf16, const Rows& rows, int64_t count, int64_t n, bool add, float factor,
             float* out, void* stream) {
  if (n == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  if (bf16)
    sum<true><<<blocks_of(n), kThreads, 0, s>>>(rows, count, n, add, factor, out);
  else
    sum<false><<<blocks_of(n), kThreads, 0, s>>>(rows, count, n, add, factor, out);
  return cudaGetLastError();
}

}  // namespace terse::cuda
