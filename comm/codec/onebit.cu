#include <cuda_runtime.h>

#include "comm/codec/cuda_elements.cuh"
#include "comm/codec/onebit_launch.h"

namespace terse::cuda {
namespace {

constexpr int kLanes = 64;
constexpr int kThreads = 256;
constexpr unsigned kWarp = 0xffffffffu;

// In fp64, element by element, as the CPU does where fp32 overflows or vanishes.
__device__ double exact_sum(const CodecArrays& in, const Piece& piece, bool squares) {
  double total = 0;
  for (int64_t i = piece.begin; i < piece.end; ++i) {
    if (!is_live(in, i)) continue;
    const double x = element(in, i);
    total = __dadd_rn(total, squares ? __dmul_rn(x, x) : fabs(x));
  }
  return total;
}

// One block of 64 threads a piece: thread l is lane l. No fused multiply-add, as on the CPU.
__global__ void sum_pieces(CodecArrays in, OneBitTables t, bool squares, double* sums,
                           int64_t* counts) {
  const Piece piece = t.piece[blockIdx.x];
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0;
  int live = 0;
  bool all_zero = true;
#pragma unroll 4
  for (int64_t i = piece.begin / kLanes * kLanes + lane; i < piece.end; i += kLanes) {
    if (i < piece.begin || !is_live(in, i)) continue;
    const float x = element(in, i);
    sum = __fadd_rn(sum, squares ? __fmul_rn(x, x) : fabsf(x));
    all_zero = all_zero && x == 0.0f;
    ++live;
  }
  __shared__ float lanes[kLanes];
  __shared__ int lives[kLanes];
  lanes[lane] = sum;
  lives[lane] = live;
  // Also the barrier between writing the lanes and adding them up.
  const bool zero = __syncthreads_and(all_zero) != 0;
  if (lane < 16)
    lanes[lane] = __fadd_rn(__fadd_rn(lanes[lane], lanes[lane + 16]),
                            __fadd_rn(lanes[lane + 32], lanes[lane + 48]));
  for (int step = 8; step > 0; step /= 2) {
    __syncthreads();
    if (lane < step) lanes[lane] = __fadd_rn(lanes[lane], lanes[lane + step]);
  }
  if (lane != 0) return;
  int64_t count = 0;
  for (int l = 0; l < kLanes; ++l) count += lives[l];
  double total = lanes[0];
  // A piece of zeros needs no second look, and is common where gradients are sparse.
  if (!zero && !(total > 1e-25 && total < 1e37)) total = exact_sum(in, piece, squares);
  sums[blockIdx.x] = total;
  counts[blockIdx.x] = count;
}

// One warp a group: it fetches 32 sums at a time and adds them one after the other.
__global__ void finish_groups(OneBitTables t, bool squares, const double* sums,
                              const int64_t* counts, float* scales) {
  const int64_t g = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (g >= t.groups) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t end = t.first_piece_of_group[g + 1];
  double sum = 0;
  long long count = 0;
  for (int64_t p = t.first_piece_of_group[g]; p < end; p += 32) {
    const bool inside = p + lane < end;
    const double own = inside ? sums[p + lane] : 0.0;
    if (inside) count += counts[p + lane];
    const int here = end - p < 32 ? static_cast<int>(end - p) : 32;
    for (int l = 0; l < here; ++l) sum = __dadd_rn(sum, __shfl_sync(kWarp, own, l));
  }
  for (int step = 16; step > 0; step /= 2) count += __shfl_xor_sync(kWarp, count, step);
  const double mean = count == 0 ? 0.0 : __ddiv_rn(sum, static_cast<double>(count));
  if (lane == 0) scales[g] = __double2float_rn(squares ? __dsqrt_rn(mean) : mean);
}

// One block a window. A warp makes 32 bits at a time, half a word of one message: parts begin at
// multiples of 64. Elements only go up, so that piece and part are found by going on from the last.
__global__ void pack_windows(CodecArrays in, OneBitTables t, const float* scales,
                             const __grid_constant__ Payloads out, int64_t first, int64_t count) {
  const int64_t w = blockIdx.x;
  int64_t piece = t.first_piece[w];
  int64_t part = t.first_part[w];
  for (int64_t i = w * kWindow + threadIdx.x; i < (w + 1) * kWindow; i += kThreads) {
    const int64_t word = i / 64 * 64;  // its first element, the same for the whole warp
    if (word >= t.size) break;
    bool sign = false;
    if (i < t.size) {
      while (i >= t.piece[piece].end) ++piece;
      float rest = 0;
      if (is_live(in, i)) {
        const float x = element(in, i);
        const float scale = scales[t.piece[piece].group];
        sign = x >= 0;
        rest = __fsub_rn(x, sign ? scale : -scale);
      }
      if (in.shadow != nullptr) in.shadow[i] = rest;
    }
    const uint32_t bits = __ballot_sync(kWarp, sign);
    while (word >= t.part[part].end) ++part;
    const int64_t slot = part - first;
    if (threadIdx.x % 32 == 0 && slot >= 0 && slot < count)
      reinterpret_cast<uint32_t*>(out.at[slot])[(i - t.part[part].begin) / 32] = bits;
  }
}

// One block a part: its scales, and zeros up to the payload's end.
__global__ void write_scales(OneBitTables t, const float* scales,
                             const __grid_constant__ Payloads out, int64_t first) {
  const OneBitMessage part = t.part[first + blockIdx.x];
  float* to = reinterpret_cast<float*>(out.at[blockIdx.x] + part.scale_offset);
  const int64_t room = (part.payload - part.scale_offset) / 4;
  for (int64_t k = threadIdx.x; k < room; k += kThreads)
    to[k] = k < part.groups ? scales[part.first_group + k] : 0.0f;
}

// One block a window that shares elements with the part.
__global__ void unpack_windows(OneBitTables t, OneBitMessage part,
                               const __grid_constant__ Payloads messages, int64_t count, bool add,
                               float factor, const uint64_t* live, float* out) {
  const int64_t w = part.begin / kWindow + blockIdx.x;
  int64_t piece = t.first_piece[w];
  for (int64_t i = w * kWindow + threadIdx.x; i < (w + 1) * kWindow; i += kThreads) {
    if (i >= part.end) break;
    if (i < part.begin) continue;
    while (i >= t.piece[piece].end) ++piece;
    const int64_t at = i - part.begin;
    const int64_t group = t.piece[piece].group - part.first_group;
    const bool alive = is_live(CodecArrays{nullptr, nullptr, nullptr, live}, i);
    float sum = add ? out[at] : 0.0f;
    for (int64_t k = 0; k < count; ++k) {
      const unsigned char* payload = messages.at[k];
      const uint64_t bits = reinterpret_cast<const uint64_t*>(payload)[at / 64];
      const float scale = reinterpret_cast<const float*>(payload + part.scale_offset)[group];
      float q = (bits >> (at % 64) & 1) != 0 ? scale : -scale;
      if (!alive) q = 0;
      // The first is taken as it is: 0 + -0 would lose its sign.
      sum = k == 0 && !add ? q : __fadd_rn(sum, q);
    }
    out[at] = __fmul_rn(sum, factor);
  }
}

unsigned blocks(int64_t count) {
  return static_cast<unsigned>(count);
}

}  // namespace

int onebit_scales(const CodecArrays& in, const OneBitTables& tables, bool squares, double* sums,
                  int64_t* counts, float* scales, void* stream) {
  if (tables.pieces == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  sum_pieces<<<blocks(tables.pieces), kLanes, 0, s>>>(in, tables, squares, sums, counts);
  const int64_t groups_a_block = kThreads / 32;
  finish_groups<<<blocks((tables.groups + groups_a_block - 1) / groups_a_block), kThreads, 0, s>>>(
      tables, squares, sums, counts, scales);
  return cudaGetLastError();
}

int onebit_pack(const CodecArrays& in, const OneBitTables& tables, const float* scales,
                const Payloads& out, int64_t first, int64_t count, void* stream) {
  if (tables.windows == 0 || count == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  pack_windows<<<blocks(tables.windows), kThreads, 0, s>>>(in, tables, scales, out, first, count);
  write_scales<<<blocks(count), kThreads, 0, s>>>(tables, scales, out, first);
  return cudaGetLastError();
}

int onebit_unpack(const OneBitTables& tables, const OneBitMessage& part, const Payloads& messages,
                  int64_t count, bool add, float factor, const uint64_t* live, float* out,
                  void* stream) {
  if (part.begin >= part.end) return 0;
  const int64_t windows = (part.end - 1) / kWindow - part.begin / kWindow + 1;
  unpack_windows<<<blocks(windows), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      tables, part, messages, count, add, factor, live, out);
  return cudaGetLastError();
}

}  // namespace terse::cuda
