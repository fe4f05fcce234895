// Launchers of onebit.cu: the twins of kernels/onebit.cc, with the same bits as on the CPU because
// lanes, trees and roundings are the same. Pointers are device memory; everything is queued on
// `stream` (a cudaStream_t) and nothing waits. Each returns a cudaError_t as int: 0, or why it
// could not be queued. C++17: nvcc compiles this too.
#pragma once
#include <cstdint>

#include "comm/codec/kernels/arrays.h"
#include "comm/codec/layout.h"
#include "comm/codec/payloads.h"

namespace terse::cuda {

// OneBitPart with its sums done.
struct OneBitMessage {
  int64_t begin = 0;  // elements of the bucket
  int64_t end = 0;
  int64_t first_group = 0;  // whose scale is the message's first
  int64_t groups = 0;
  int64_t scale_offset = 0;  // bytes
  int64_t payload = 0;
};

// Layout and parts, copied to the device once.
struct OneBitTables {
  int64_t size = 0;     // elements
  int64_t windows = 0;  // of kWindow elements
  int64_t pieces = 0;
  int64_t groups = 0;
  int64_t parts = 0;
  const Piece* piece = nullptr;
  const int64_t* first_piece = nullptr;           // of each window
  const int64_t* first_piece_of_group = nullptr;  // and one more at the end
  const OneBitMessage* part = nullptr;
  const int64_t* first_part = nullptr;  // of each window: which one holds its first element
};

// scales[group], with sums and counts of every piece as scratch.
int onebit_scales(const CodecArrays& in, const OneBitTables& tables, bool squares, double* sums,
                  int64_t* counts, float* scales, void* stream);
// Bits and scales of the parts first to first + count - 1, whole payloads; the shadow of all.
int onebit_pack(const CodecArrays& in, const OneBitTables& tables, const float* scales,
                const Payloads& out, int64_t first, int64_t count, void* stream);
// out = [out +] messages[0] + messages[1] + ..., then times `factor`, for the elements of `part`.
int onebit_unpack(const OneBitTables& tables, const OneBitMessage& part, const Payloads& messages,
                  int64_t count, bool add, float factor, const uint64_t* live, float* out,
                  void* stream);

}  // namespace terse::cuda
