// What the optimizers' CUDA kernels share: the grid-stride loop, and single operations rounded as
// the CPU rounds them.
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace terse::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 4096;

int blocks_for(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

__device__ int64_t first() {
  return blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
}
__device__ int64_t stride() {
  return gridDim.x * static_cast<int64_t>(kThreads);
}

__device__ void store(float* p, uint16_t* rounded, int64_t i, float value) {
  p[i] = value;
  if (rounded != nullptr) rounded[i] = __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

__device__ float blend(float m, float one_minus_beta1, float g) {
  return __fadd_rn(m, __fmul_rn(one_minus_beta1, __fsub_rn(g, m)));
}

}  // namespace
}  // namespace terse::cuda
