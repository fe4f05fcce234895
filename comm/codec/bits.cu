#include <cuda_runtime.h>

#include "comm/codec/bits_launch.h"
#include "comm/codec/cuda_elements.cuh"

namespace terse::cuda {
namespace {

constexpr int kThreads = 128;

// One block a piece. Extremes do not depend on the order.
__global__ void piece_extents(CodecArrays in, BitsTables t, BitsExtent* extents) {
  const BitsPiece piece = t.piece[blockIdx.x];
  BitsExtent e;
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads) {
    if (!is_live(in, i)) continue;
    const float x = element(in, i);
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

__global__ void group_grids(BitsTables t, const BitsExtent* extents, BitsGrid* grids) {
  const int64_t g = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (g >= t.groups) return;
  const int64_t first = t.first_piece_of_group[g];
  BitsExtent all;
  for (int64_t p = first; p < t.first_piece_of_group[g + 1]; ++p) {
    all.low = fminf(all.low, extents[p].low);
    all.high = fmaxf(all.high, extents[p].high);
  }
  grids[g] = fit_grid(t.piece[first].bits, t.norm, all);
}

__device__ float decoded(float low, float step, float level) {
  return __fadd_rn(low, __fmul_rn(level, step));
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

// One block a piece. A thread makes the codes of eight elements, which fill whole bytes; those of
// the piece's first and last word that are not its elements' are zero.
__global__ void pack_pieces(CodecArrays in, BitsTables t, const BitsGrid* grids, PhiloxStream noise,
                            bool stochastic, const __grid_constant__ Payloads out, int64_t first,
                            int64_t count) {
  const BitsPiece piece = t.piece[blockIdx.x];
  const int64_t slot = piece.part - first;
  if (slot < 0 || slot >= count) return;
  const BitsGrid grid = grids[piece.group];
  const int64_t origin = piece.begin / 64 * 64, end = (piece.end + 63) / 64 * 64;
  for (int64_t at = origin + threadIdx.x * int64_t{8}; at < end; at += kThreads * int64_t{8}) {
    uint64_t octet = 0;
    for (int k = 0; k < 8; ++k) {
      const int64_t i = at + k;
      if (i < piece.begin || i >= piece.end) continue;
      float rest = 0;
      if (is_live(in, i)) {
        const float x = element(in, i);
        const float level = level_of(grid, x, noise, stochastic, i);
        octet |= static_cast<uint64_t>(level + grid.zero) << (k * piece.bits);
        rest = __fsub_rn(x, decoded(grid.low, grid.step, level));
      }
      if (in.shadow != nullptr) in.shadow[i] = rest;
    }
    unsigned char* to = out.at[slot] + piece.codes + (at - origin) / 8 * piece.bits;
    for (int byte = 0; byte < piece.bits; ++byte)
      to[byte] = static_cast<unsigned char>(octet >> 8 * byte);
  }
}

// One block a part: what is no element's. Scales of one number (norm) may leave half a word at the
// end, which is zero.
__global__ void write_frames(BitsTables t, const BitsGrid* grids,
                             const __grid_constant__ Payloads out, int64_t first) {
  const BitsMessage part = t.part[first + blockIdx.x];
  auto* widths = reinterpret_cast<uint64_t*>(out.at[blockIdx.x]);
  for (int64_t w = threadIdx.x; w < part.width_words; w += kThreads)
    widths[w] = t.width[part.first_width + w];
  auto* scales = reinterpret_cast<float*>(out.at[blockIdx.x] + part.scale_offset);
  const int64_t numbers = t.norm ? 1 : 2;
  const int64_t room = (part.payload - part.scale_offset) / 4;
  for (int64_t k = threadIdx.x; k < room; k += kThreads) {
    float value = 0;
    if (k < part.groups * numbers) {
      const BitsGrid& grid = grids[part.first_group + k / numbers];
      value = k % numbers == numbers - 1 ? grid.step : grid.low;
    }
    scales[k] = value;
  }
}

__device__ uint32_t code_at(const unsigned char* codes, int64_t k, int bits) {
  const int64_t bit = k * bits;
  const unsigned char* at = codes + bit / 8;
  uint32_t code = at[0];
  if (bit % 8 + bits > 8) code |= static_cast<uint32_t>(at[1]) << 8;
  return code >> (bit % 8) & ((1u << bits) - 1);
}

// One block a piece of the part.
__global__ void unpack_pieces(BitsTables t, BitsMessage part,
                              const __grid_constant__ Payloads messages, int64_t count, bool add,
                              float factor, const uint64_t* live, float* out) {
  const BitsPiece piece = t.piece[part.first_piece + blockIdx.x];
  const float zero = empty_grid(piece.bits, t.norm).zero;
  const int64_t origin = piece.begin / 64 * 64;
  const int64_t scale = (piece.group - part.first_group) * (t.norm ? 1 : 2);
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads) {
    const bool alive = is_live(CodecArrays{nullptr, nullptr, nullptr, live}, i);
    float& to = out[i - part.begin];
    float sum = add ? to : 0.0f;
    for (int64_t k = 0; k < count; ++k) {
      const unsigned char* payload = messages.at[k];
      const auto* scales = reinterpret_cast<const float*>(payload + part.scale_offset) + scale;
      const float low = t.norm ? 0.0f : scales[0], step = scales[t.norm ? 0 : 1];
      const uint32_t code = code_at(payload + piece.codes, i - origin, piece.bits);
      const float q = alive ? decoded(low, step, static_cast<float>(code) - zero) : 0.0f;
      // The first is taken as it is: 0 + -0 would lose its sign.
      sum = k == 0 && !add ? q : __fadd_rn(sum, q);
    }
    to = __fmul_rn(sum, factor);
  }
}

unsigned blocks(int64_t count) {
  return static_cast<unsigned>(count);
}

}  // namespace

int bits_grids(const CodecArrays& in, const BitsTables& tables, BitsExtent* extents,
               BitsGrid* grids, void* stream) {
  if (tables.pieces == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  piece_extents<<<blocks(tables.pieces), kThreads, 0, s>>>(in, tables, extents);
  group_grids<<<blocks((tables.groups + kThreads - 1) / kThreads), kThreads, 0, s>>>(
      tables, extents, grids);
  return cudaGetLastError();
}

int bits_pack(const CodecArrays& in, const BitsTables& tables, const BitsGrid* grids,
              const PhiloxStream* noise, const Payloads& out, int64_t first, int64_t count,
              void* stream) {
  if (tables.pieces == 0 || count == 0) return 0;
  auto* s = static_cast<cudaStream_t>(stream);
  const PhiloxStream random = noise == nullptr ? PhiloxStream{} : *noise;
  pack_pieces<<<blocks(tables.pieces), kThreads, 0, s>>>(in, tables, grids, random,
                                                         noise != nullptr, out, first, count);
  write_frames<<<blocks(count), kThreads, 0, s>>>(tables, grids, out, first);
  return cudaGetLastError();
}

int bits_unpack(const BitsTables& tables, const BitsMessage& part, const Payloads& messages,
                int64_t count, bool add, float factor, const uint64_t* live, float* out,
                void* stream) {
  if (part.pieces == 0) return 0;
  unpack_pieces<<<blocks(part.pieces), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      tables, part, messages, count, add, factor, live, out);
  return cudaGetLastError();
}

}  // namespace terse::cuda
