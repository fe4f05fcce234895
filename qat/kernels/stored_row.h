// A row as codes are made from it: fp32, rotated, with its statistic taken on the way.
#pragma once
#include "qat/kernels/declarations.h"
#include "qat/kernels/fwht.h"
#include "qat/kernels/scales.h"
#include "qat/quantize.h"

namespace terse::TERSE_ISA {

struct StoredRow {
  const float* z;
  float statistic;
};

TERSE_INLINE f32x16 values(const float* p, int64_t n) {
  return load(p, n);
}
TERSE_INLINE f32x16 values(const uint16_t* p, int64_t n) {
  return bf16_load(p, n);
}
TERSE_INLINE f32x16 values(const RowsIn& in, int64_t at, int64_t n) {
  return in.bf16 ? values(in.bf16 + at, n) : values(in.f32 + at, n);
}

// A row of blocks of kFastBlock, from the input to `z`; the statistic of what is still in
// registers, in the order of statistic_of().
template <Statistic kind, typename In>
float rotate_fast_row(const In* in, int64_t columns, float* z) {
  Sums sums;
  i32x16 most = {};
  fwht_row_of_fast_blocks(
      columns,
      [&](int64_t c, int64_t i) TERSE_ALWAYS {
        if (i * kLanes * sizeof(In) % 64 == 0) ask_for<false>(in + c, kElementsTogether);
        return values(in + c, kLanes);
      },
      [&](int64_t c, int64_t i, f32x16 v) TERSE_ALWAYS {
        store(z + c, v);
        if constexpr (kind == Statistic::mean_square) sums.of[i % 4] += v * v;
        if constexpr (kind == Statistic::mean_magnitude) sums.of[i % 4] += absolute(v);
        if constexpr (kind == Statistic::largest) {
          const i32x16 bits = bits_of(absolute(v));
          most = bits > most ? bits : most;
        }
      });
  if constexpr (kind == Statistic::none) return 0.0f;
  if constexpr (kind == Statistic::largest) return __builtin_bit_cast(float, largest_lane(most));
  return sums.mean(columns);
}

template <typename In>
StoredRow fast_row(Statistic kind, const In* in, int64_t columns, float* z) {
  switch (kind) {
    case Statistic::mean_square:
      return {z, rotate_fast_row<Statistic::mean_square>(in, columns, z)};
    case Statistic::mean_magnitude:
      return {z, rotate_fast_row<Statistic::mean_magnitude>(in, columns, z)};
    case Statistic::largest:
      return {z, rotate_fast_row<Statistic::largest>(in, columns, z)};
    default:
      rotate_fast_row<Statistic::none>(in, columns, z);
      return {z, statistic_of(kind, z, columns)};
  }
}

// Row r in the stored space: the input itself, or in `scratch`.
static inline StoredRow stored_row(const CodeFormat& format, const RowsIn& in, int64_t r,
                                   Statistic kind, float* scratch) {
  const int64_t columns = in.columns, at = r * columns;
  if (format.hadamard == kFastBlock)
    return in.bf16 ? fast_row(kind, in.bf16 + at, columns, scratch)
                   : fast_row(kind, in.f32 + at, columns, scratch);
  const float* z = scratch;
  if (!in.bf16 && format.hadamard <= 1) {
    z = in.f32 + at;
  } else {
    for (int64_t c = 0; c < columns; c += kLanes)
      store(scratch + c, values(in, at + c, columns - c), columns - c);
    if (format.hadamard > 1) fwht_row(scratch, columns, format.hadamard);
  }
  return {z, statistic_of(kind, z, columns)};
}

}  // namespace terse::TERSE_ISA
