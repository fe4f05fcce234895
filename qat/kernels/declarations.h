// The entry points of every instruction set.
#pragma once
#include "qat/lsq.h"

#define TERSE_QAT_KERNELS(isa)                                                                \
  namespace isa {                                                                             \
  void quantize_rows(const Grid& grid, const Estimator& estimator, const RowsIn& in,          \
                     const RowsOut& out, float* scratch);                                     \
  void row_statistics(const Grid& grid, const RowsIn& in, float* statistics, float* scratch); \
  void decode_rows(const CodedRows& in, float* f32, uint16_t* bf16);                          \
  void step_gradient_rows(const StepGradientIn& in, float* sums, float* scratch);             \
  void rotate_rows(const RowsIn& in, const uint8_t* mask, int64_t hadamard, float* f32,       \
                   uint16_t* bf16, float* scratch);                                           \
  }

namespace terse {
// quantize_rows() takes so many elements at a time, in whole rows, that they fill half of the
// level-1 cache, and asks for memory as much ahead. Its scratch holds these rows, that of the
// others one row. Rows lie a cache line, not a page apart: a load waits for a store at the same
// place of a page.
constexpr int64_t kElementsTogether = 6144, kMostRows = 8;
static constexpr int64_t rows_together(int64_t columns) {
  const int64_t rows = columns == 0 ? kMostRows : kElementsTogether / columns;
  return rows < 1 ? 1 : rows < kMostRows ? rows : kMostRows;
}
static constexpr int64_t scratch_stride(int64_t columns) {
  return (columns + 31) / 16 * 16 + 32;
}

TERSE_QAT_KERNELS(scalar)
TERSE_QAT_KERNELS(avx2)
TERSE_QAT_KERNELS(avx512)
}  // namespace terse
