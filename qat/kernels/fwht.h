// The block Walsh-Hadamard transform in place: Sylvester order, scaled by 1/sqrt(block), strides
// from 1 upwards in every instruction set.
#pragma once
#include "base/vec.h"

namespace terse::TERSE_ISA {

#define TERSE_ALWAYS __attribute__((always_inline))

// Whether two blocks of 128 fit beside what a block needs.
#if defined(__AVX512F__)
constexpr bool kManyRegisters = true;
#else
constexpr bool kManyRegisters = false;
#endif

// Blocks of 16 `vectors`, `all` vectors of them, in registers: the first four strides inside a
// vector, the others across vectors. get(i) gives vector i, put(i, v) takes it. Where registers
// suffice, all vectors go through a stride before any goes through the next: two blocks side by
// side keep the processor busy, one alone waits for itself.
template <int64_t vectors, int64_t all, typename Get, typename Put>
TERSE_INLINE void fwht_registers(float scale, const Get& get, const Put& put) {
  constexpr int64_t together = kManyRegisters ? all : 1;
  f32x16 v[all];
#pragma GCC unroll 16
  for (int64_t first = 0; first < all; first += together) {
    const int64_t end = first + together;
#pragma GCC unroll 16
    for (int64_t i = first; i < end; ++i) v[i] = get(i);
#pragma GCC unroll 16
    for (int64_t i = first; i < end; ++i) v[i] = butterfly<1>(v[i]);
#pragma GCC unroll 16
    for (int64_t i = first; i < end; ++i) v[i] = butterfly<2>(v[i]);
#pragma GCC unroll 16
    for (int64_t i = first; i < end; ++i) v[i] = butterfly<4>(v[i]);
#pragma GCC unroll 16
    for (int64_t i = first; i < end; ++i) v[i] = butterfly<8>(v[i]);
  }
#pragma GCC unroll 4
  for (int64_t stride = 1; stride < vectors; stride *= 2) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < all; ++i) {
      if (i & stride) continue;
      const f32x16 a = v[i], b = v[i + stride];
      v[i] = a + b;
      v[i + stride] = a - b;
    }
  }
#pragma GCC unroll 16
  for (int64_t i = 0; i < all; ++i) put(i, v[i] * scale);
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

// get(column, i) gives sixteen lanes, put(column, i, v) takes them, the i-th from a multiple of
// kFastBlock; `columns` is one.
template <typename Get, typename Put>
TERSE_INLINE void fwht_row_of_fast_blocks(int64_t columns, const Get& get, const Put& put) {
  constexpr int64_t vectors = kFastBlock / kLanes;
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(kFastBlock)));
  int64_t start = 0;
  const auto from = [&](int64_t i) TERSE_ALWAYS { return get(start + i * kLanes, i); };
  const auto to = [&](int64_t i, f32x16 v) TERSE_ALWAYS { put(start + i * kLanes, i, v); };
  if constexpr (kManyRegisters)
    for (; start + 2 * kFastBlock <= columns; start += 2 * kFastBlock)
      fwht_registers<vectors, 2 * vectors>(scale, from, to);
  for (; start < columns; start += kFastBlock) fwht_registers<vectors, vectors>(scale, from, to);
}

// `columns` is a multiple of `block`, a power of two.
static inline void fwht_row(float* p, int64_t columns, int64_t block) {
  if (block == kFastBlock)
    return fwht_row_of_fast_blocks(
        columns, [&](int64_t c, int64_t) TERSE_ALWAYS { return load(p + c); },
        [&](int64_t c, int64_t, f32x16 v) TERSE_ALWAYS { store(p + c, v); });
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(block)));
  for (int64_t start = 0; start < columns; start += block) fwht_generic(p + start, block, scale);
}

}  // namespace terse::TERSE_ISA
