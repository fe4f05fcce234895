// Sixteen codes at once by each rounding of qat/grid.h.
#pragma once
#include "base/vec.h"
#include "qat/grid.h"

namespace terse::TERSE_ISA {

// To the nearest E2M1 value, doubled: codes lie 1 apart below 4, 2 apart below 8, then 4. Adding
// 1.5 * 2^23 of those distances rounds to them, ties to even.
TERSE_INLINE f32x16 fp4_code(f32x16 t, float most) {
  const f32x16 size = clamp(absolute(t), 0.0f, most);
  const f32x16 coarse = size < 8.0f ? splat(0x1.8p24f) : splat(0x1.8p25f);
  const f32x16 whole = size < 4.0f ? splat(0x1.8p23f) : coarse;
  const f32x16 code = (size + whole) - whole;
  return (f32x16)((i32x16)code | ((i32x16)t & static_cast<int32_t>(0x80000000u)));
}

// `step`: the scale times the unit, and its inverse. Values are clamped to [min - 1, max + 1]
// before they become integers, so that the conversion is defined for every input; NaN becomes the
// least code, in fp4 a zero.
template <Rounding rounding>
TERSE_INLINE f32x16 code_of(f32x16 z, float step, float inverse, float least, float most) {
  if constexpr (rounding == Rounding::floor) {
    return round_down(clamp(z * inverse, least, most + 0.5f));
  } else if constexpr (rounding == Rounding::nearest || rounding == Rounding::quotient) {
    const f32x16 at = rounding == Rounding::quotient ? z / step : z * inverse;
    const f32x16 t = clamp(at, least, most);
    return (t + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23
  } else if constexpr (rounding == Rounding::ggml_shift) {
    const f32x16 t = z * inverse + (0.5f - least);
    const f32x16 whole = to_float(to_int(clamp(t, 0.0f, most - least)));
    return whole + least;
  } else if constexpr (rounding == Rounding::fp4) {
    return fp4_code(z * inverse, most);
  } else if constexpr (rounding == Rounding::fp4_quotient) {
    return fp4_code(z / step, most);
  } else {
    const f32x16 t = clamp(z * inverse, least, most);
    const f32x16 size = absolute(t);
    const f32x16 whole = to_float(to_int(size));
    const f32x16 away = (size - whole) >= 0.5f ? whole + 1.0f : whole;
    return t < 0.0f ? -away : away;
  }
}

}  // namespace terse::TERSE_ISA
