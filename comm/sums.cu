// The CPU's order: 16 lanes within a block of kSumBlock elements, then the lanes in turn. All
// threads fetch, sixteen of them add.
#include <cuda_runtime.h>

#include "comm/kernels/sums.h"
#include "comm/sums_launch.h"

namespace terse::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 16;
constexpr int kTile = 4096;
static_assert(kSumBlock % kTile == 0 && kTile % kLanes == 0, "a tile keeps every lane's place");

__global__ void sum_blocks(const float* x, int64_t n, bool squares, double* parts) {
  __shared__ float tile[kTile];
  __shared__ double lanes[kLanes];
  const int t = static_cast<int>(threadIdx.x);
  const int64_t begin = blockIdx.x * static_cast<int64_t>(kSumBlock);
  const int64_t end = begin + kSumBlock < n ? begin + kSumBlock : n;
  double sum = 0;
  for (int64_t first = begin; first < end; first += kTile) {
    const int here = end - first < kTile ? static_cast<int>(end - first) : kTile;
#pragma unroll
    for (int i = 0; i < kTile / kThreads; ++i) {
      const int at = i * kThreads + t;
      if (at < here) tile[at] = x[first + at];
    }
    __syncthreads();
    if (t < kLanes) {
#pragma unroll 8
      for (int at = t; at < here; at += kLanes) {
        const double v = tile[at];
        sum = __dadd_rn(sum, squares ? __dmul_rn(v, v) : v);
      }
    }
    __syncthreads();
  }
  if (t < kLanes) lanes[t] = sum;
  __syncthreads();
  if (t != 0) return;
  double total = 0;
  for (int l = 0; l < kLanes; ++l) total = __dadd_rn(total, lanes[l]);
  parts[blockIdx.x] = total;
}

}  // namespace

int block_sums(const float* x, int64_t n, bool squares, double* parts, void* stream) {
  if (n == 0) return 0;
  const auto blocks = static_cast<unsigned>((n + kSumBlock - 1) / kSumBlock);
  sum_blocks<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(x, n, squares, parts);
  return cudaGetLastError();
}

}  // namespace terse::cuda
