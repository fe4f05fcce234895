// Kernels of the dense exchange and codecs on runs of elements. One thread; no streaming stores in
// sums, whose results are read at once.
#pragma once
#include <cstdint>

namespace terse {

#define TERSE_DENSE_KERNELS(isa)                                                                 \
  namespace isa {                                                                                \
  /* out = bf16(in), to nearest even, as base/half.h; written past the cache when aligned. */    \
  void bf16_encode(const float* in, int64_t n, uint16_t* out);                                   \
  /* out = bf16(in + residual), shadow = in + residual - out. */                                 \
  void bf16_encode_residual(const float* in, const float* residual, int64_t n, uint16_t* out,    \
                            float* shadow);                                                      \
  void bf16_decode(const uint16_t* in, int64_t n, float* out);                                   \
  /* out = factor * (rows[0] + rows[1] + ...), added in this order in fp32. */                   \
  void sum_fp32(const float* const* rows, int64_t count, int64_t first, int64_t n, float factor, \
                float* out);                                                                     \
  void sum_bf16(const uint16_t* const* rows, int64_t count, int64_t first, int64_t n,            \
                float factor, float* out);                                                       \
  }
TERSE_DENSE_KERNELS(scalar)
TERSE_DENSE_KERNELS(avx2)
TERSE_DENSE_KERNELS(avx512)
#undef TERSE_DENSE_KERNELS

}  // namespace terse
