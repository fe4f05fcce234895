// Small dense linear algebra whose results depend neither on threads nor on the instruction set, so
// that ranks on different machines stay replicas (comm/low_rank_exchange.h). Torch-free.
#pragma once
#include <cstdint>

#include "base/isa.h"

namespace terse {

#define TERSE_DECLARE_LOW_RANK(isa)                                                             \
  namespace isa {                                                                               \
  /* sum_i x[i] y[i], 16 lanes in fp64. */                                                      \
  double dot(const float* x, const float* y, int64_t n);                                        \
  /* y += a x */                                                                                \
  void add_scaled(float a, const float* x, float* y, int64_t n);                                \
  void scale(float a, float* x, int64_t n);                                                     \
  /* out[i, j] = sum_k p[k, first + i] q[k, j], k ascending; p is [rank, rows], q [rank, cols], \
     out [count, cols]. */                                                                      \
  void outer_rows(const float* p, const float* q, float* out, int64_t rank, int64_t rows,       \
                  int64_t cols, int64_t first, int64_t count);                                  \
  }
TERSE_DECLARE_LOW_RANK(scalar)
TERSE_DECLARE_LOW_RANK(avx2)
TERSE_DECLARE_LOW_RANK(avx512)
#undef TERSE_DECLARE_LOW_RANK

}  // namespace terse
