// The block Walsh-Hadamard transform in place: Sylvester order, scaled by 1/sqrt(block), strides
// from 1 upwards in every instruction set.
#pragma once
#include "base/vec.h"

namespace terse::TERSE_ISA {

// Blocks of 16 and more: the first four strides inside a vector, the others across vectors.
template <int64_t vectors>
TERSE_INLINE void fwht_registers(float* p, float scale) {
  f32x16 v[vectors];
#pragma GCC unroll 16
  for (int64_t i = 0; i < vectors; ++i) {
    const f32x16 x = butterfly<2>(butterfly<1>(load(p + i * kLanes)));
    v[i] = butterfly<8>(butterfly<4>(x));
  }
#pragma GCC unroll 4
  for (int64_t stride = 1; stride < vectors; stride *= 2) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < vectors; ++i) {
      if (i & stride) continue;
      const f32x16 a = v[i], b = v[i + stride];
      v[i] = a + b;
      v[i + stride] = a - b;
    }
  }
#pragma GCC unroll 16
  for (int64_t i = 0; i < vectors; ++i) store(p + i * kLanes, v[i] * scale);
}

static inline void fwht_generic(float* p, int64_t block, float scale) {
  for (int64_t stride = 1; stride < block; stride *= 2) {
    for (int64_t start = 0; start < block; start += 2 * stride) {
      for (int64_t i = start; i < start + stride; ++i) {
        const float a = p[i], b = p[i + stride];
        p[i] = a + b;
        p[i + stride] = a - b;
      }
    }
  }
  for (int64_t i = 0; i < block; ++i) p[i] *= scale;
}

// `columns` is a multiple of `block`, a power of two.
static inline void fwht_row(float* p, int64_t columns, int64_t block) {
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(block)));
  for (int64_t start = 0; start < columns; start += block) {
    if (block == 128)
      fwht_registers<8>(p + start, scale);
    else
      fwht_generic(p + start, block, scale);
  }
}

}  // namespace terse::TERSE_ISA
