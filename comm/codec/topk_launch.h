// Launchers of topk.cu: the twins of the selection (comm/codec/select.h, rule `exact`) and of the
// sum over messages (comm/codec/topk_message.h), with the same coordinates, values, residual and
// sums. Pointers are device memory; everything is queued on `stream` (a cudaStream_t) and nothing
// waits. Each returns a cudaError_t as int: 0, or why it could not be queued. C++17: nvcc compiles
// this too.
//
// The k-th magnitude is found digit by digit (11, 11 and 9 bits) from histograms: three passes over
// x, one that counts and one that writes in order of index; no sample, no sort.
#pragma once
#include <cstdint>

#include "comm/codec/kernels/arrays.h"

namespace terse::cuda {

// Elements of one sparse segment, at most topk_tile_elements() of them; tiles ascend.
struct TopKTile {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t segment = 0;
  int64_t first_tile = 0;  // of the segment
};

// One a sparse segment, set before every call: left = k, least as in SelectOptions, the rest
// 0. Afterwards: elements above `threshold` and the first `left` equal to it were chosen.
struct TopKState {
  int64_t left = 0;
  uint32_t threshold = 0;
  uint32_t least = 1;
  bool all = false;  // fewer than k reach `least`: all of them
};

struct TopKTileCount {
  uint32_t more = 0;
  uint32_t same = 0;
  int64_t ties = 0;
  int64_t first = 0;
};

struct TopKScratch {
  const TopKTile* tiles = nullptr;
  int64_t tile_count = 0;
  TopKState* states = nullptr;
  int64_t segment_count = 0;
  uint32_t* bins = nullptr;         // 2,048 a segment
  TopKTileCount* counts = nullptr;  // one a tile
};

int64_t topk_tile_elements();

// in.shadow, which is needed, = x (0 where dead) for all n elements; then the chosen ones go to
// `indices` and `values`, ascending, *total of them, and leave the shadow (with bf16 they leave
// what rounding loses).
int topk_select(const CodecArrays& in, int64_t n, bool bf16, const TopKScratch& scratch,
                int64_t* indices, float* values, int64_t* total, void* stream);

// out[indices[e]] += values[e], or = for the first message: indices of one message differ, so that
// no order matters; messages one after the other on one stream. `out` was set to zero.
int topk_scatter(const uint32_t* indices, const float* values, int64_t count, bool first,
                 float* out, void* stream);

// out[i] *= factor for n elements, 0 where element begin + i of the mask's bucket is dead.
int topk_finish(const uint64_t* live, int64_t begin, int64_t n, float factor, float* out,
                void* stream);

}  // namespace terse::cuda
