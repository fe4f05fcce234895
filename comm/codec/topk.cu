#include <cuda_runtime.h>

#include "comm/codec/cuda_elements.cuh"
#include "comm/codec/topk_launch.h"

namespace terse::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kItems = 4096;  // elements a block looks at in one go
constexpr int kBins = 2048;       // of 11 bits
// The three digits of a magnitude's 31 bits, most significant first.
constexpr int kShift[3] = {20, 9, 0};
constexpr uint32_t kDigit[3] = {0x7ff, 0x7ff, 0x1ff};

__device__ uint32_t magnitude(const float* x, int64_t i) {
  return __float_as_uint(x[i]) & 0x7fffffffu;
}

__global__ void add(CodecArrays in, int64_t n) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i < n) in.shadow[i] = is_live(in, i) ? element(in, i) : 0.0f;
}

// One block a tile; counts those whose higher digits are the ones found so far.
__global__ void count_digits(const float* x, const TopKTile* tiles, const TopKState* states,
                             int pass, int shift, uint32_t digit, uint32_t* bins) {
  __shared__ uint32_t local[kBins];
  const TopKTile tile = tiles[blockIdx.x];
  const TopKState state = states[tile.segment];
  for (int d = static_cast<int>(threadIdx.x); d < kBins; d += static_cast<int>(blockDim.x))
    local[d] = 0;
  __syncthreads();
  const uint32_t known = pass == 0 ? 0 : ~((1u << (shift + (pass == 1 ? 11 : 9))) - 1);
  for (int64_t i = tile.begin + threadIdx.x; i < tile.end; i += blockDim.x) {
    const uint32_t m = magnitude(x, i);
    if (m >= state.least && ((m ^ state.threshold) & known & 0x7fffffffu) == 0)
      atomicAdd(local + (m >> shift & digit), 1u);
  }
  __syncthreads();
  for (int d = static_cast<int>(threadIdx.x); d < kBins; d += static_cast<int>(blockDim.x))
    if (local[d] != 0) atomicAdd(bins + tile.segment * kBins + d, local[d]);
}

// One thread a segment: the digit in which the k-th largest lies. Where fewer than k are nonzero,
// the threshold becomes the least magnitude and all that reach it are taken.
__global__ void choose_digit(TopKState* states, int64_t segments, int shift, uint32_t digit,
                             const uint32_t* bins) {
  const int64_t s = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (s >= segments) return;
  TopKState& state = states[s];
  if (state.all) return;
  int64_t left = state.left;
  for (int64_t d = digit; d >= 0; --d) {
    const int64_t here = bins[s * kBins + d];
    if (here >= left) {
      state.threshold |= static_cast<uint32_t>(d) << shift;
      state.left = left;
      return;
    }
    left -= here;
  }
  state.all = true;
  state.threshold = state.least;
  state.left = 0;
}

__device__ bool above(const TopKState& s, uint32_t m) {
  return s.all ? m >= s.least : m > s.threshold;
}

__device__ bool tied(const TopKState& s, uint32_t m) {
  return !s.all && m == s.threshold && m >= s.least;
}

__global__ void count_tiles(const float* x, const TopKTile* tiles, const TopKState* states,
                            TopKTileCount* counts) {
  __shared__ unsigned more, same;
  const TopKTile tile = tiles[blockIdx.x];
  const TopKState state = states[tile.segment];
  if (threadIdx.x == 0) more = same = 0;
  __syncthreads();
  for (int64_t i = tile.begin + threadIdx.x; i < tile.end; i += blockDim.x) {
    const uint32_t m = magnitude(x, i);
    if (above(state, m)) atomicAdd(&more, 1u);
    if (tied(state, m)) atomicAdd(&same, 1u);
  }
  __syncthreads();
  if (threadIdx.x == 0) counts[blockIdx.x] = {more, same, 0, 0};
}

constexpr int kScanThreads = 1024;

// put(t, sum of get(0), ..., get(t - 1)) for every t; returns the whole sum. One block, each thread
// a run of its own.
template <typename Get, typename Put>
__device__ int64_t exclusive_scan(int64_t count, Get get, Put put) {
  __shared__ int64_t sums[kScanThreads];
  const int me = static_cast<int>(threadIdx.x);
  const int64_t begin = count * me / kScanThreads, end = count * (me + 1) / kScanThreads;
  int64_t mine = 0;
  for (int64_t t = begin; t < end; ++t) mine += get(t);
  sums[me] = mine;
  for (int step = 1; step < kScanThreads; step *= 2) {
    __syncthreads();
    const int64_t more = me >= step ? sums[me - step] : 0;
    __syncthreads();
    sums[me] += more;
  }
  __syncthreads();
  int64_t before = sums[me] - mine;
  for (int64_t t = begin; t < end; ++t) {
    const int64_t here = get(t);
    put(t, before);
    before += here;
  }
  const int64_t all = sums[kScanThreads - 1];
  __syncthreads();
  return all;
}

// Where each tile's entries go; a segment's `left` ties are those of its first tiles.
__global__ void place_tiles(const TopKTile* tiles, int64_t count, const TopKState* states,
                            TopKTileCount* counts, int64_t* total) {
  exclusive_scan(
      count, [&](int64_t t) { return static_cast<int64_t>(counts[t].same); },
      [&](int64_t t, int64_t before) { counts[t].first = before; });
  for (int64_t t = threadIdx.x; t < count; t += blockDim.x) {
    const int64_t before = counts[t].first - counts[tiles[t].first_tile].first;
    const int64_t left = states[tiles[t].segment].left - before;
    counts[t].ties = left <= 0 ? 0 : (left < counts[t].same ? left : counts[t].same);
  }
  __syncthreads();
  const int64_t all = exclusive_scan(
      count, [&](int64_t t) { return counts[t].more + counts[t].ties; },
      [&](int64_t t, int64_t before) { counts[t].first = before; });
  if (threadIdx.x == 0) *total = all;
}

// One warp a tile keeps the order: a ballot gives every lane its place.
__global__ void emit(float* x, const TopKTile* tiles, const TopKState* states,
                     const TopKTileCount* counts, bool bf16, int64_t* indices, float* values) {
  const TopKTile tile = tiles[blockIdx.x];
  const TopKState state = states[tile.segment];
  int64_t at = counts[blockIdx.x].first;
  int64_t ties = counts[blockIdx.x].ties;
  const unsigned lane = threadIdx.x, before = (1u << lane) - 1;
  for (int64_t base = tile.begin; base < tile.end; base += 32) {
    const int64_t i = base + lane;
    const uint32_t m = i < tile.end ? magnitude(x, i) : 0;
    const bool tie = i < tile.end && tied(state, m);
    const unsigned all_ties = __ballot_sync(0xffffffffu, tie);
    const bool chosen =
        i < tile.end && (above(state, m) || (tie && __popc(all_ties & before) < ties));
    const unsigned all = __ballot_sync(0xffffffffu, chosen);
    if (chosen) {
      const float value = x[i];
      const int64_t e = at + __popc(all & before);
      indices[e] = i;
      values[e] = value;
      float sent = value;
      if (bf16) {  // base/half.h's arithmetic
        const uint32_t u = __float_as_uint(value);
        const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
        sent = __uint_as_float((u & 0x7fffffffu) > 0x7f800000u ? (u | 0x400000u) & 0xffff0000u
                                                               : rounded);
      }
      x[i] = sent == value ? 0.0f : __fsub_rn(value, sent);
    }
    at += __popc(all);
    const int64_t used = __popc(all_ties);
    ties = used < ties ? ties - used : 0;
  }
}

__global__ void scatter(const uint32_t* indices, const float* values, int64_t count, bool first,
                        float* out) {
  const int64_t e = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (e >= count) return;
  float& sum = out[indices[e]];
  sum = first ? values[e] : __fadd_rn(sum, values[e]);
}

__global__ void finish(CodecArrays mask, int64_t begin, int64_t n, float factor, float* out) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i < n) out[i] = __fmul_rn(is_live(mask, begin + i) ? out[i] : 0.0f, factor);
}

unsigned blocks_of(int64_t n) {
  return static_cast<unsigned>((n + kThreads - 1) / kThreads);
}

}  // namespace

int64_t topk_tile_elements() {
  return kItems;
}

int topk_select(const CodecArrays& in, int64_t n, bool bf16, const TopKScratch& scratch,
                int64_t* indices, float* values, int64_t* total, void* stream) {
  auto* s = static_cast<cudaStream_t>(stream);
  if (n > 0) add<<<blocks_of(n), kThreads, 0, s>>>(in, n);
  if (scratch.tile_count == 0) return cudaMemsetAsync(total, 0, sizeof *total, s);
  const auto tiles = static_cast<unsigned>(scratch.tile_count);
  const auto bins = static_cast<size_t>(scratch.segment_count) * kBins * sizeof(uint32_t);
  for (int pass = 0; pass < 3; ++pass) {
    const cudaError_t cleared = cudaMemsetAsync(scratch.bins, 0, bins, s);
    if (cleared != cudaSuccess) return cleared;
    count_digits<<<tiles, kThreads, 0, s>>>(in.shadow, scratch.tiles, scratch.states, pass,
                                            kShift[pass], kDigit[pass], scratch.bins);
    choose_digit<<<blocks_of(scratch.segment_count), kThreads, 0, s>>>(
        scratch.states, scratch.segment_count, kShift[pass], kDigit[pass], scratch.bins);
  }
  count_tiles<<<tiles, kThreads, 0, s>>>(in.shadow, scratch.tiles, scratch.states, scratch.counts);
  place_tiles<<<1, kScanThreads, 0, s>>>(scratch.tiles, scratch.tile_count, scratch.states,
                                         scratch.counts, total);
  emit<<<tiles, 32, 0, s>>>(in.shadow, scratch.tiles, scratch.states, scratch.counts, bf16, indices,
                            values);
  return cudaGetLastError();
}

int topk_scatter(const uint32_t* indices, const float* values, int64_t count, bool first,
                 float* out, void* stream) {
  if (count == 0) return 0;
  scatter<<<blocks_of(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(indices, values,
                                                                                count, first, out);
  return cudaGetLastError();
}

int topk_finish(const uint64_t* live, int64_t begin, int64_t n, float factor, float* out,
                void* stream) {
  if (n == 0) return 0;
  finish<<<blocks_of(n), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      CodecArrays{nullptr, nullptr, nullptr, live}, begin, n, factor, out);
  return cudaGetLastError();
}

}  // namespace terse::cuda
