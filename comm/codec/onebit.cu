#include <cuda_runtime.h>

#include "comm/codec/cuda_elements.cuh"
#include "comm/codec/cuda_kernels.h"

namespace terse::cuda {
namespace {

// One block of 64 threads a piece: thread l is lane l. No fused multiply-add, as on the CPU.
__global__ void sum_pieces(OneBitBucket b, bool squares, double* sums, int64_t* counts) {
  const Piece piece = b.pieces[blockIdx.x];
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0;
  int64_t live = 0;
  for (int64_t i = piece.begin / 64 * 64 + lane; i < piece.end; i += 64) {
    if (i < piece.begin || !is_live(b, i)) continue;
    const float x = element(b, i);
    sum = __fadd_rn(sum, squares ? __fmul_rn(x, x) : fabsf(x));
    ++live;
  }
  __shared__ float lanes[64];
  __shared__ int64_t lives[64];
  lanes[lane] = sum;
  lives[lane] = live;
  __syncthreads();
  if (lane < 16)
    lanes[lane] = __fadd_rn(__fadd_rn(lanes[lane], lanes[lane + 16]),
                            __fadd_rn(lanes[lane + 32], lanes[lane + 48]));
  for (int step = 8; step > 0; step /= 2) {
    __syncthreads();
    if (lane < step) lanes[lane] = __fadd_rn(lanes[lane], lanes[lane + step]);
  }
  if (lane != 0) return;
  int64_t count = 0;
  for (int l = 0; l < 64; ++l) count += lives[l];
  double total = lanes[0];
  if (!(total > 1e-25 && total < 1e37)) {  // rare: in fp64, element by element, as on the CPU
    total = 0;
    for (int64_t i = piece.begin; i < piece.end; ++i) {
      if (!is_live(b, i)) continue;
      const double x = element(b, i);
      total = __dadd_rn(total, squares ? __dmul_rn(x, x) : fabs(x));
    }
  }
  sums[blockIdx.x] = total;
  counts[blockIdx.x] = count;
}

__global__ void finish_groups(OneBitBucket b, bool squares, const double* sums,
                              const int64_t* counts, float* scales) {
  const int64_t g = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (g >= b.group_count) return;
  double sum = 0;
  int64_t count = 0;
  for (int64_t p = b.first_piece_of_group[g]; p < b.first_piece_of_group[g + 1]; ++p) {
    sum = __dadd_rn(sum, sums[p]);
    count += counts[p];
  }
  const double mean = count == 0 ? 0.0 : __ddiv_rn(sum, static_cast<double>(count));
  scales[g] = __double2float_rn(squares ? __dsqrt_rn(mean) : mean);
}

// A warp makes 32 bits at a time; halves of words that several pieces share are or-ed.
__global__ void pack_pieces(OneBitBucket b, const float* scales, uint32_t* halves) {
  const Piece piece = b.pieces[blockIdx.x];
  const float scale = scales[piece.group];
  for (int64_t first = piece.begin / 32 * 32; first < piece.end; first += blockDim.x) {
    const int64_t i = first + threadIdx.x;
    const bool inside = i >= piece.begin && i < piece.end;
    bool sign = false;
    if (inside) {
      float rest = 0;
      if (is_live(b, i)) {
        const float x = element(b, i);
        sign = x >= 0;
        rest = __fsub_rn(x, sign ? scale : -scale);
      }
      if (b.shadow != nullptr) b.shadow[i] = rest;
    }
    const uint32_t bits = __ballot_sync(0xffffffffu, sign);
    if (threadIdx.x % 32 == 0 && bits != 0) atomicOr(halves + i / 32, bits);
  }
}

__global__ void unpack_pieces(OneBitBucket b, const uint64_t* words, const float* scales, bool add,
                              float* out) {
  const Piece piece = b.pieces[blockIdx.x];
  const float scale = scales[piece.group];
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += blockDim.x) {
    float q = (words[i / 64] >> (i % 64) & 1) != 0 ? scale : -scale;
    if (!is_live(b, i)) q = 0;
    out[i] = add ? __fadd_rn(out[i], q) : q;
  }
}

constexpr unsigned kThreads = 256;

}  // namespace

int onebit_scales(const OneBitBucket& bucket, bool squares, double* sums, int64_t* counts,
                  float* scales, void* stream) {
  if (bucket.piece_count == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  sum_pieces<<<static_cast<unsigned>(bucket.piece_count), 64, 0, s>>>(bucket, squares, sums,
                                                                      counts);
  const auto blocks = static_cast<unsigned>((bucket.group_count + kThreads - 1) / kThreads);
  finish_groups<<<blocks, kThreads, 0, s>>>(bucket, squares, sums, counts, scales);
  return cudaGetLastError();
}

int onebit_pack(const OneBitBucket& bucket, int64_t n, const float* scales, uint64_t* words,
                void* stream) {
  if (bucket.piece_count == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  const cudaError_t cleared =
      cudaMemsetAsync(words, 0, static_cast<size_t>((n + 63) / 64) * sizeof(uint64_t), s);
  if (cleared != cudaSuccess) return cleared;
  pack_pieces<<<static_cast<unsigned>(bucket.piece_count), kThreads, 0, s>>>(
      bucket, scales, reinterpret_cast<uint32_t*>(words));
  return cudaGetLastError();
}

int onebit_unpack(const OneBitBucket& bucket, const uint64_t* words, const float* scales, bool add,
                  float* out, void* stream) {
  if (bucket.piece_count == 0) return 0;
  unpack_pieces<<<static_cast<unsigned>(bucket.piece_count), kThreads, 0,
                  static_cast<cudaStream_t>(stream)>>>(bucket, words, scales, add, out);
  return cudaGetLastError();
}

}  // namespace terse::cuda
