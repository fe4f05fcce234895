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
TERSE_QAT_KERNELS(scalar)
TERSE_QAT_KERNELS(avx2)
TERSE_QAT_KERNELS(avx512)
}  // namespace terse
