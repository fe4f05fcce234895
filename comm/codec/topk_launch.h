// CUDA twin of the top-k codec's selection and decoding: the same coordinates, values and residual
// as comm/codec/select.h with rule `exact`. Raw device pointers; everything is queued on `stream`
// (a cudaStream_t) and nothing waits. Each call returns a cudaError_t as int: 0 or why a launch
// failed. Linked with TERSE_CUDA only; compiled wherever nvcc is, never run on a GPU.
//
// The k-th magnitude is found digit by digit (11, 11 and 9 bits) from histograms: three passes over
// x, one that counts and one that writes in order of index; no sample, no sort.
#pragma once
#include <cstdint>

namespace terse::cuda {

// Null pointers as in EncodeInput; `shadow` is needed.
struct TopKBucket {
  const float* message = nullptr;
  const float* residual = nullptr;
  float* shadow = nullptr;
  const uint64_t* live = nullptr;
};

// Elements of one sparse segment, at most topk_tile_elements() of them; tiles ascend.
struct TopKTile {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t segment = 0;
  int64_t first_tile = 0;  // of the segment
};

// One a sparse segment, set before every call: left = k >= 1, least as in SelectOptions, the rest
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

// shadow = x (0 where dead) for all n elements; then the chosen ones go to `indices` and `values`,
// ascending, *total of them, and leave the shadow (with bf16 they leave what rounding loses).
int topk_select(const TopKBucket& bucket, int64_t n, bool bf16, const TopKScratch& scratch,
                int64_t* indices, float* values, int64_t* total, void* stream);

// out[indices[e]] += values[e], or = for the first message: indices of one message differ, so that
// no order matters; messages one after the other on one stream. `out` was set to zero.
int topk_scatter(const uint32_t* indices, const float* values, int64_t count, bool first,
                 float* out, void* stream);

}  // namespace terse::cuda
