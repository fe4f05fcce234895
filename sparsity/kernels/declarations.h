// The entry points of every instruction set: one row each.
#pragma once
#include <cstdint>

#define TERSE_SPARSITY_KERNELS(isa)                                                               \
  namespace isa {                                                                                 \
  bool select_row(const float* weight, int64_t columns, int64_t keep, int64_t of, uint8_t* mask); \
  void blend_row(const float* f32, const uint16_t* bf16, const uint8_t* mask, float beta,         \
                 int64_t columns, float* out_f32, uint16_t* out_bf16);                            \
  void add_pruned_row(const float* in, const uint8_t* mask, float factor, int64_t columns,        \
                      float* out);                                                                \
  }

namespace terse {
TERSE_SPARSITY_KERNELS(scalar)
TERSE_SPARSITY_KERNELS(avx2)
TERSE_SPARSITY_KERNELS(avx512)
}  // namespace terse
