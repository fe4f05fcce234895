// CUDA twin of the b-bit codec: the same codes, scales and residuals as on the CPU (bits_grid.h is
// both's arithmetic). Raw device pointers; everything is queued on `stream` (a cudaStream_t) and
// nothing waits. Each returns a cudaError_t as int: 0 or why the launch failed. Linked with
// TERSE_CUDA only.
#pragma once
#include <cstdint>

#include "comm/codec/bits_grid.h"

namespace terse::cuda {

// A Layout's piece, cut once more where a part of the bucket ends: elements [begin, end) of one
// group. Begins at a multiple of 64 or where a segment does.
struct BitsPiece {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t group = 0;
  int64_t codes = 0;  // where the word of 64 elements that holds `begin` has its codes, bytes
  int32_t bits = 0;
};

// The bucket on the device; null pointers as in EncodeInput. `pieces` in order, and the first of
// every group (groups + 1 entries), copied to the device once.
struct BitsBucket {
  const float* message = nullptr;
  const float* residual = nullptr;
  float* shadow = nullptr;
  const uint64_t* live = nullptr;
  const BitsPiece* pieces = nullptr;
  int64_t piece_count = 0;
  const int64_t* first_piece_of_group = nullptr;
  int64_t group_count = 0;
  bool norm = false;
};

// grids[group]; extents of every piece are scratch.
int bits_grids(const BitsBucket& bucket, BitsExtent* extents, BitsGrid* grids, void* stream);
// Clears codes[0, code_bytes), then writes codes and shadow. `noise` (on the host): stochastic
// rounding, null: nearest.
int bits_pack(const BitsBucket& bucket, const BitsGrid* grids, const PhiloxStream* noise,
              uint8_t* codes, int64_t code_bytes, void* stream);
// out = decoded (0 where dead), or with `add` out += that.
int bits_unpack(const BitsBucket& bucket, const uint8_t* codes, const BitsGrid* grids, bool add,
                float* out, void* stream);

}  // namespace terse::cuda
