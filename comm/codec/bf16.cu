#include <cuda_runtime.h>

#include "comm/codec/cuda_kernels.h"

namespace terse::cuda {
namespace {

// base/half.h's arithmetic in integers: NaNs keep their payload, which the hardware's conversion
// does not promise.
__global__ void encode(const float* in, int64_t n, uint16_t* out) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= n) return;
  const uint32_t u = __float_as_uint(in[i]);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40u;
  out[i] = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

__global__ void decode(const uint16_t* in, int64_t n, float* out) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i < n) out[i] = __uint_as_float(static_cast<uint32_t>(in[i]) << 16);
}

constexpr unsigned kThreads = 256;

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

}  // namespace terse::cuda
