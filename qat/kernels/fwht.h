// The block Walsh-Hadamard transform in place: Sylvester order, scaled by 1/sqrt(block), strides
// from 1 upwards in every instruction set.
#pragma once
#include "base/vec.h"

namespace terse::TERSE_ISA {

#define TERSE_ALWAYS __attribute__((always_inline))

// One block of 16 `vectors`, in registers: the first four strides inside a vector, the others
// across vectors. get(i) gives vector i, put(i, v) takes it.
template <int64_t vectors, typename Get, typename Put>
TERSE_INLINE void fwht_registers(float scale, const Get& get, const Put& put) {
  f32x16 v[vectors];
#pragma GCC unroll 16
  for (int64_t i = 0; i < vectors; ++i) {
    const f32x16 x = butterfly<2>(butterfly<1>(get(i)));
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
  for (int64_t i = 0; i < vectors; ++i) put(i, v[i] * scale);
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

// Blocks of this size go through registers, from where they lie to where they shall.
constexpr int64_t kFastBlock = 128;

// get(column) gives sixteen lanes, put(column, v) takes them; `columns` is a multiple of
// kFastBlock.
template <typename Get, typename Put>
TERSE_INLINE void fwht_row_of_fast_blocks(int64_t columns, const Get& get, const Put& put) {
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(kFastBlock)));
  for (int64_t start = 0; start < columns; start += kFastBlock)
    fwht_registers<kFastBlock / kLanes>(
        scale, [&](int64_t i) TERSE_ALWAYS { return get(start + i * kLanes); },
        [&](int64_t i, f32x16 v) TERSE_ALWAYS { put(start + i * kLanes, v); });
}

// `columns` is a multiple of `block`, a power of two.
static inline void fwht_row(float* p, int64_t columns, int64_t block) {
  if (block == kFastBlock)
    return fwht_row_of_fast_blocks(
        columns, [&](int64_t c) TERSE_ALWAYS { return load(p + c); },
        [&](int64_t c, f32x16 v) TERSE_ALWAYS { store(p + c, v); });
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(block)));
  for (int64_t start = 0; start < columns; start += block) fwht_generic(p + start, block, scale);
}

}  // namespace terse::TERSE_ISA
