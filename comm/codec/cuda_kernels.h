// CUDA twins of the codec kernels: the same bits as on the CPU, because lanes, trees and roundings
// are the same (docs/protocol.md). Raw device pointers; everything is queued on `stream` (a
// cudaStream_t) and nothing waits. Each returns a cudaError_t as int: 0 or why the launch failed.
// Linked with TERSE_CUDA only.
#pragma once
#include <cstdint>

#include "comm/codec/layout.h"

namespace terse::cuda {

// The bucket on the device; null pointers as in EncodeInput. `pieces` and `first_piece_of_group`
// (groups + 1 entries) are Layout's tables, copied to the device once.
struct OneBitBucket {
  const float* message = nullptr;
  const float* residual = nullptr;
  float* shadow = nullptr;
  const uint64_t* live = nullptr;
  const Piece* pieces = nullptr;
  int64_t piece_count = 0;
  const int64_t* first_piece_of_group = nullptr;
  int64_t group_count = 0;
};

// scales[group] and, as scratch, sums and counts of every piece.
int onebit_scales(const OneBitBucket& bucket, bool squares, double* sums, int64_t* counts,
                  float* scales, void* stream);
// words: ceil(n / 64) for the whole bucket; a part's are the slice that begins with its first
// element's word.
int onebit_pack(const OneBitBucket& bucket, int64_t n, const float* scales, uint64_t* words,
                void* stream);
// out = +-scale (0 where dead), or with `add` out += that.
int onebit_unpack(const OneBitBucket& bucket, const uint64_t* words, const float* scales, bool add,
                  float* out, void* stream);

int bf16_encode(const float* in, int64_t n, uint16_t* out, void* stream);
int bf16_decode(const uint16_t* in, int64_t n, float* out, void* stream);

}  // namespace terse::cuda
