// Launchers of bits.cu: the twins of kernels/bits.cc, with the same codes, scales and residuals as
// on the CPU because bits_grid.h is both's arithmetic. Pointers are device memory; everything is
// queued on `stream` (a cudaStream_t) and nothing waits. Each returns a cudaError_t as int: 0, or
// why it could not be queued. C++17: nvcc compiles this too.
#pragma once
#include <cstdint>

#include "comm/codec/bits_grid.h"
#include "comm/codec/kernels/arrays.h"
#include "comm/codec/payloads.h"

namespace terse::cuda {

// A Layout's piece, cut once more where a part ends: whole words of its run's codes are its own.
struct BitsPiece {
  int64_t begin = 0;  // elements of the bucket
  int64_t end = 0;
  int64_t group = 0;
  int64_t part = 0;
  int64_t codes = 0;  // in the payload: where the word that holds `begin` has its codes
  int32_t bits = 0;
};

// BitsPart with its sums done.
struct BitsMessage {
  int64_t begin = 0;  // elements of the bucket
  int64_t first_piece = 0;
  int64_t pieces = 0;
  int64_t first_group = 0;  // whose scale is the message's first
  int64_t groups = 0;
  int64_t first_width = 0;  // in BitsTables::width
  int64_t width_words = 0;
  int64_t scale_offset = 0;  // bytes
  int64_t payload = 0;
};

// Layout and parts, copied to the device once.
struct BitsTables {
  int64_t pieces = 0;
  int64_t groups = 0;
  bool norm = false;
  const BitsPiece* piece = nullptr;
  const int64_t* first_piece_of_group = nullptr;  // and one more at the end
  const BitsMessage* part = nullptr;
  const uint64_t* width = nullptr;  // the parts' width bytes, padded
};

// grids[group], with extents of every piece as scratch.
int bits_grids(const CodecArrays& in, const BitsTables& tables, BitsExtent* extents,
               BitsGrid* grids, void* stream);
// Widths, codes and scales of the parts first to first + count - 1, whole payloads, and the shadow
// of their elements. `noise` (on the host): stochastic rounding, null: nearest.
int bits_pack(const CodecArrays& in, const BitsTables& tables, const BitsGrid* grids,
              const PhiloxStream* noise, const Payloads& out, int64_t first, int64_t count,
              void* stream);
// out = [out +] messages[0] + messages[1] + ..., then times `factor`, for the elements of `part`.
int bits_unpack(const BitsTables& tables, const BitsMessage& part, const Payloads& messages,
                int64_t count, bool add, float factor, const uint64_t* live, float* out,
                void* stream);

}  // namespace terse::cuda
