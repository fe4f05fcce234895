// Statistics of values that share a scale, and the scale they get. No inline function of another
// header is called but the compiler's own: the linker keeps one copy of such a function, and it
// might be the one of the wrong instruction set.
#pragma once
#include <cfloat>

#if !defined(__F16C__)
#include "base/half.h"
#endif
#include "base/vec.h"
#include "qat/grid.h"

namespace terse::TERSE_ISA {

// What a rule looks at (qat/grid.h); the first value of largest magnitude, with its sign.
enum class Statistic : uint8_t { none, mean_square, mean_magnitude, largest, first_largest };

TERSE_INLINE Statistic statistic_kind(ScaleRule rule) {
  switch (rule) {
    case ScaleRule::rms:
      return Statistic::mean_square;
    case ScaleRule::absmean:
      return Statistic::mean_magnitude;
    case ScaleRule::signed_max:
      return Statistic::first_largest;
    default:
      return Statistic::largest;
  }
}

// A mean in a fixed shape of sum, so that no instruction set or vector width changes the bits:
// vector i of a group goes to sum i % 4 where four are whole, those at the end to the first.
struct Sums {
  f32x16 of[4] = {};
  TERSE_INLINE float mean(int64_t n) const {
    return sum_of_lanes((of[0] + of[1]) + (of[2] + of[3])) / static_cast<float>(n);
  }
};
template <typename Lanes>
TERSE_INLINE float mean_of(const float* z, int64_t n, const Lanes& f) {
  Sums sums;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) sums.of[k] += f(load(z + i + k * kLanes));
  }
  for (; i < n; i += kLanes) sums.of[0] += f(load(z + i, n - i));
  return sums.mean(n);
}

static inline float mean_square(const float* z, int64_t n) {
  return mean_of(z, n, [](f32x16 x) { return x * x; });
}
static inline float mean_magnitude(const float* z, int64_t n) {
  return mean_of(z, n, [](f32x16 x) { return absolute(x); });
}

// As bits, in which NaN is larger than infinity, which is larger than every number.
static inline float largest_magnitude(const float* z, int64_t n) {
  i32x16 most = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const i32x16 x = bits_of(absolute(load(z + i, n - i)));
    most = x > most ? x : most;
  }
  return __builtin_bit_cast(float, largest_lane(most));
}

// The first of the largest in magnitude, as ggml picks it.
static inline float first_largest(const float* z, int64_t n) {
  const float magnitude = largest_magnitude(z, n);
  for (int64_t i = 0; i < n; i += kLanes) {
    const uint32_t hits = lane_bits(absolute(load(z + i, n - i)) == magnitude);
    if (hits != 0) return z[i + __builtin_ctz(hits)];
  }
  return magnitude;  // NaN equals nothing
}

static inline float through_fp16(float x) {
#if defined(__F16C__)
  return _cvtsh_ss(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
#else
  return fp16_to_float(fp16_from_float(x));
#endif
}

static inline float through_bf16(float x) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  return __builtin_bit_cast(float, (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
}

static inline bool finite(float x) {
  return __builtin_fabsf(x) <= FLT_MAX;
}

// A power of two, two binades below that of the largest value: E2M1 reaches 6.
static inline float mx_scale(float largest, bool round) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, largest) + (round ? 1u << 21 : 0u);
  const uint32_t exponent = bits >> 23;
  return __builtin_bit_cast(float, (exponent > 3 ? exponent - 2 : 1u) << 23);
}

// Of a statistic (mean square, mean or largest magnitude, first largest value) by the grid's rule.
static inline float scale_from(const Grid& grid, float statistic) {
  switch (grid.rule) {
    case ScaleRule::rms:
      return grid.step * __builtin_sqrtf(statistic) + grid.eps;
    case ScaleRule::absmean: {
      const float scale = grid.step * statistic;
      return scale < grid.eps ? grid.eps : scale;
    }
    case ScaleRule::mx_floor:
    case ScaleRule::mx_round:
      return finite(statistic) ? mx_scale(statistic, grid.rule == ScaleRule::mx_round) : statistic;
    default:
      return statistic / grid.step;
  }
}

static inline float statistic_of(Statistic kind, const float* z, int64_t n) {
  switch (kind) {
    case Statistic::mean_square:
      return mean_square(z, n);
    case Statistic::mean_magnitude:
      return mean_magnitude(z, n);
    case Statistic::largest:
      return largest_magnitude(z, n);
    case Statistic::first_largest:
      return first_largest(z, n);
    case Statistic::none:
      break;
  }
  return 0.0f;
}

static inline float rounded(float scale, ScaleType type) {
  if (type == ScaleType::f32) return scale;
  if (type == ScaleType::f16) return through_fp16(scale);
  if (type == ScaleType::bf16) return through_bf16(scale);
  return round_scale(scale, type);
}

// Of a dynamic grid (qat/grid.h): e4m3 as compressed-tensors computes it where inputs are rounded.
static inline float dynamic_e4m3(float scale) {
  if (scale >= 448.0f) return 448.0f;
  if (scale >= 0x1p-6f) return round_scale(scale, ScaleType::e4m3);
  const float near = (scale + 0x1.8p14f) - 0x1.8p14f;  // to multiples of 2^-9, ties to even
  return near == 0.0f ? 0.125f : near;
}

struct Scale {
  float stored;   // what the file holds
  float inverse;  // what values are multiplied with
};

// `least`: of the grid, not 0. `tensor`: the second scale.
static inline Scale stored_scale(const Grid& grid, float scale, float least, float tensor) {
  if (!finite(scale)) return {__builtin_nanf(""), 0.0f};
  if (grid.dynamic && grid.format.scale_type == ScaleType::e4m3) {
    const float stored = dynamic_e4m3(scale / tensor);
    return {stored, 1.0f / (stored * tensor)};
  }
  // No quotient where there is nothing to divide: whole rows wait for it.
  float stored = rounded(tensor == 1.0f ? scale : scale / tensor, grid.format.scale_type);
  const bool small = __builtin_fabsf(stored) < least;
  if (small) stored = least;
  if (!finite(stored)) return {__builtin_nanf(""), 0.0f};
  return {stored, 1.0f / (grid.ggml && !small ? scale : stored * tensor)};
}

// A step that is given. What is not finite must show, as it does where statistics are taken.
static inline Scale given_scale(float stored, float largest) {
  if (!finite(largest)) return {__builtin_nanf(""), 0.0f};
  return {stored, 1.0f / stored};
}

}  // namespace terse::TERSE_ISA
