#include <cuda_runtime.h>

#include "comm/codec/cuda_bits.h"
#include "comm/codec/cuda_elements.cuh"

namespace terse::cuda {
namespace {

constexpr int kThreads = 128;

// One block a piece. Extremes do not depend on the order.
__global__ void piece_extents(BitsBucket b, BitsExtent* extents) {
  const BitsPiece piece = b.pieces[blockIdx.x];
  BitsExtent e;
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads) {
    if (!is_live(b, i)) continue;
    const float x = element(b, i);
    e.low = x < e.low ? x : e.low;
    e.high = x > e.high ? x : e.high;
  }
  __shared__ float lows[kThreads], highs[kThreads];
  lows[threadIdx.x] = e.low;
  highs[threadIdx.x] = e.high;
  for (unsigned step = kThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x >= step) continue;
    lows[threadIdx.x] = fminf(lows[threadIdx.x], lows[threadIdx.x + step]);
    highs[threadIdx.x] = fmaxf(highs[threadIdx.x], highs[threadIdx.x + step]);
  }
  if (threadIdx.x == 0) {
    extents[blockIdx.x].low = lows[0];
    extents[blockIdx.x].high = highs[0];
  }
}

__global__ void group_grids(BitsBucket b, const BitsExtent* extents, BitsGrid* grids) {
  const int64_t g = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (g >= b.group_count) return;
  const int64_t first = b.first_piece_of_group[g];
  BitsExtent all;
  for (int64_t p = first; p < b.first_piece_of_group[g + 1]; ++p) {
    all.low = fminf(all.low, extents[p].low);
    all.high = fmaxf(all.high, extents[p].high);
  }
  grids[g] = fit_grid(b.pieces[first].bits, b.norm, all);
}

__device__ float decoded(const BitsGrid& grid, float level) {
  return __fadd_rn(grid.low, __fmul_rn(level, grid.step));
}

__device__ float uniform_of(const PhiloxStream& noise, int64_t i) {
  uint32_t words[4][1] = {{noise_counter(i / 64, static_cast<int>(i % 16))},
                          {noise.counter[0]},
                          {noise.counter[1]},
                          {noise.counter[2]}};
  philox4x32(words, noise.key);
  return uniform_from_bits(words[i % 64 / 16][0]);
}

__device__ float level_of(const BitsGrid& grid, float x, const PhiloxStream& noise, bool stochastic,
                          int64_t i) {
  const float place = __fmul_rn(__fsub_rn(x, grid.low), __fdiv_rn(1.0f, grid.step));
  const float t = fminf(fmaxf(place, -grid.zero), grid.top - grid.zero);
  if (!stochastic) return rintf(t);
  const float floor = floorf(t);
  return uniform_of(noise, i) < __fsub_rn(t, floor) ? floor + 1 : floor;
}

// A thread makes the codes of eight elements, which fill whole bytes; those outside the piece are
// zero. Words of 64 elements are a run's own, so no two blocks write the same byte: a piece begins
// and ends at such a word or with its run.
__global__ void pack_pieces(BitsBucket b, const BitsGrid* grids, PhiloxStream noise,
                            bool stochastic, uint8_t* codes) {
  const BitsPiece piece = b.pieces[blockIdx.x];
  const BitsGrid grid = grids[piece.group];
  const int64_t origin = piece.begin / 64 * 64;
  for (int64_t first = piece.begin / 8 * 8 + threadIdx.x * int64_t{8}; first < piece.end;
       first += kThreads * int64_t{8}) {
    uint64_t octet = 0;
    for (int k = 0; k < 8; ++k) {
      const int64_t i = first + k;
      if (i < piece.begin || i >= piece.end) continue;
      float rest = 0;
      if (is_live(b, i)) {
        const float x = element(b, i);
        const float level = level_of(grid, x, noise, stochastic, i);
        octet |= static_cast<uint64_t>(level + grid.zero) << (k * piece.bits);
        rest = __fsub_rn(x, decoded(grid, level));
      }
      if (b.shadow != nullptr) b.shadow[i] = rest;
    }
    uint8_t* to = codes + piece.codes + (first - origin) / 8 * piece.bits;
    for (int byte = 0; byte < piece.bits; ++byte)
      to[byte] = static_cast<uint8_t>(octet >> 8 * byte);
  }
}

__global__ void unpack_pieces(BitsBucket b, const uint8_t* codes, const BitsGrid* grids, bool add,
                              float* out) {
  const BitsPiece piece = b.pieces[blockIdx.x];
  const BitsGrid grid = grids[piece.group];
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads) {
    const int64_t bit = (i - piece.begin / 64 * 64) * piece.bits;
    const uint8_t* at = codes + piece.codes + bit / 8;
    uint32_t code = at[0];
    if (bit % 8 + piece.bits > 8) code |= static_cast<uint32_t>(at[1]) << 8;
    code = code >> (bit % 8) & ((1u << piece.bits) - 1);
    const float q = is_live(b, i) ? decoded(grid, static_cast<float>(code) - grid.zero) : 0.0f;
    out[i] = add ? __fadd_rn(out[i], q) : q;
  }
}

}  // namespace

int bits_grids(const BitsBucket& bucket, BitsExtent* extents, BitsGrid* grids, void* stream) {
  if (bucket.piece_count == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  piece_extents<<<static_cast<unsigned>(bucket.piece_count), kThreads, 0, s>>>(bucket, extents);
  const auto blocks = static_cast<unsigned>((bucket.group_count + kThreads - 1) / kThreads);
  group_grids<<<blocks, kThreads, 0, s>>>(bucket, extents, grids);
  return cudaGetLastError();
}

int bits_pack(const BitsBucket& bucket, const BitsGrid* grids, const PhiloxStream* noise,
              uint8_t* codes, int64_t code_bytes, void* stream) {
  if (bucket.piece_count == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  const cudaError_t cleared = cudaMemsetAsync(codes, 0, static_cast<size_t>(code_bytes), s);
  if (cleared != cudaSuccess) return cleared;
  pack_pieces<<<static_cast<unsigned>(bucket.piece_count), kThreads, 0, s>>>(
      bucket, grids, noise == nullptr ? PhiloxStream{} : *noise, noise != nullptr, codes);
  return cudaGetLastError();
}

int bits_unpack(const BitsBucket& bucket, const uint8_t* codes, const BitsGrid* grids, bool add,
                float* out, void* stream) {
  if (bucket.piece_count == 0) return 0;
  unpack_pieces<<<static_cast<unsigned>(bucket.piece_count), kThreads, 0,
                  static_cast<cudaStream_t>(stream)>>>(bucket, codes, grids, add, out);
  return cudaGetLastError();
}

}  // namespace terse::cuda
