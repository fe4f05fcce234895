// No inline function of another header is called here but the compiler's own: the linker keeps one
// copy of such a function, and it might be the one of the wrong instruction set.
#include <cfloat>

#if !defined(__F16C__)
#include "base/half.h"
#endif
#include "qat/kernels/declarations.h"
#include "qat/kernels/fwht.h"

namespace terse::TERSE_ISA {
namespace {

// A fixed shape of sum, so that no instruction set or vector width changes the bits.
float mean_square(const float* z, int64_t n) {
  f32x16 a = {}, b = {}, c = {}, d = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    const f32x16 x = load(z + i), y = load(z + i + kLanes);
    const f32x16 u = load(z + i + 2 * kLanes), v = load(z + i + 3 * kLanes);
    a += x * x;
    b += y * y;
    c += u * u;
    d += v * v;
  }
  for (; i < n; i += kLanes) {
    const f32x16 x = load(z + i, n - i);
    a += x * x;
  }
  const f32x16 sum = (a + b) + (c + d);
  float lane[kLanes];
  store(lane, sum);
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t k = 0; k < width; ++k) lane[k] += lane[k + width];
  return lane[0] / static_cast<float>(n);
}

// As bits, in which NaN is larger than infinity, which is larger than every number.
float largest_magnitude(const float* z, int64_t n) {
  i32x16 most = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const i32x16 x = bits_of(absolute(load(z + i, n - i)));
    most = x > most ? x : most;
  }
  return __builtin_bit_cast(float, largest_lane(most));
}

// The first of the largest in magnitude, as ggml picks it.
float first_largest(const float* z, int64_t n) {
  const float magnitude = largest_magnitude(z, n);
  for (int64_t i = 0; i < n; i += kLanes) {
    const uint32_t hits = lane_bits(absolute(load(z + i, n - i)) == magnitude);
    if (hits != 0) return z[i + __builtin_ctz(hits)];
  }
  return magnitude;  // NaN equals nothing
}

float through_fp16(float x) {
#if defined(__F16C__)
  return _cvtsh_ss(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
#else
  return fp16_to_float(fp16_from_float(x));
#endif
}

float through_bf16(float x) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  return __builtin_bit_cast(float, (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
}

float rounded(float scale, ScaleType type) {
  if (type == ScaleType::f16) return through_fp16(scale);
  if (type == ScaleType::bf16) return through_bf16(scale);
  return scale;
}

bool finite(float x) {
  return __builtin_fabsf(x) <= FLT_MAX;
}

struct Scale {
  float stored;   // what the file holds
  float inverse;  // what values are multiplied with
};

Scale scale_of(const Grid& grid, const float* z, int64_t n) {
  const CodeFormat& format = grid.format;
  if (grid.rule == ScaleRule::rms) {
    const float step = grid.step * __builtin_sqrtf(mean_square(z, n)) + grid.eps;
    if (!finite(step)) return {__builtin_nanf(""), 0.0f};
    const float smallest_normal = format.scale_type == ScaleType::f16 ? 0x1p-14f : FLT_MIN;
    float stored = rounded(step, format.scale_type);
    if (stored < smallest_normal) stored = smallest_normal;
    if (!finite(stored)) return {__builtin_nanf(""), 0.0f};
    return {stored, 1.0f / stored};
  }
  const float d = grid.rule == ScaleRule::signed_max
                      ? first_largest(z, n) / static_cast<float>(format.code_min)
                      : largest_magnitude(z, n) / static_cast<float>(format.code_max);
  const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
  const float stored = finite(d) ? rounded(d, format.scale_type) : d;
  if (!finite(stored)) return {__builtin_nanf(""), 0.0f};
  return {stored, inverse};
}

// Values are clamped to [min - 1, max + 1] before they become integers, so that the conversion is
// defined for every input; NaN becomes the least code.
template <Rounding rounding>
TERSE_INLINE f32x16 code_of(f32x16 z, float inverse, float least, float most) {
  if constexpr (rounding == Rounding::floor) {
    const f32x16 t = clamp(z * inverse, least, most + 0.5f);
    const f32x16 whole = to_float(to_int(t));
    return whole > t ? whole - 1.0f : whole;
  } else if constexpr (rounding == Rounding::nearest) {
    const f32x16 t = clamp(z * inverse, least, most);
    return (t + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23
  } else if constexpr (rounding == Rounding::ggml_shift) {
    const f32x16 t = z * inverse + (0.5f - least);
    const f32x16 whole = to_float(to_int(clamp(t, 0.0f, most - least)));
    return whole + least;
  } else {
    const f32x16 t = clamp(z * inverse, least, most);
    const f32x16 size = absolute(t);
    const f32x16 whole = to_float(to_int(size));
    const f32x16 away = (size - whole) >= 0.5f ? whole + 1.0f : whole;
    return t < 0.0f ? -away : away;
  }
}

TERSE_INLINE void set_mask(uint8_t* mask, int64_t column, int64_t n, uint32_t bits) {
  if (n >= kLanes && column % 8 == 0) {
    const uint16_t both = static_cast<uint16_t>(bits);
    __builtin_memcpy(mask + column / 8, &both, sizeof both);
    return;
  }
  if (n < kLanes) bits &= (1u << n) - 1u;
  if (column % 8 == 0) {
    mask[column / 8] = static_cast<uint8_t>(bits);
    if (n > 8) mask[column / 8 + 1] = static_cast<uint8_t>(bits >> 8);
    return;
  }
  for (int64_t i = 0; i < (n < kLanes ? n : kLanes); ++i) {
    const int64_t c = column + i;
    const uint8_t bit = static_cast<uint8_t>(1u << (c % 8));
    if (c % 8 == 0) mask[c / 8] = 0;
    if (bits >> i & 1u) mask[c / 8] = static_cast<uint8_t>(mask[c / 8] | bit);
  }
}

// What one group needs besides its values.
struct Group {
  float least, most, offset, inverse, stored;
  float bound;    // the estimator's threshold
  bool on_value;  // on |z|, else on |zq - z|
};

TERSE_INLINE uint32_t trusted(const Group& g, f32x16 z, f32x16 zq) {
  const f32x16 measure = absolute(g.on_value ? z : zq - z);
  return lane_bits(measure <= g.bound);
}

template <Rounding rounding>
void quantize_group(const Group& g, const float* z, int64_t n, int64_t column, int8_t* codes,
                    float* f32, uint16_t* bf16, uint8_t* mask) {
  for (int64_t c = 0; c < n; c += kLanes) {
    const int64_t left = n - c;
    const f32x16 x = load(z + c, left);
    const f32x16 q = code_of<rounding>(x, g.inverse, g.least, g.most);
    const f32x16 zq = (q + g.offset) * g.stored;
    if (codes) store(codes + c, to_int8(to_int(q)), left);
    if (f32) store(f32 + c, zq, left);
    if (bf16) store(bf16 + c, bf16_round(zq), left);
    if (mask) set_mask(mask, column + c, left, trusted(g, x, zq));
  }
}

Group group_of(const Grid& grid, const Estimator& estimator, const Scale& scale) {
  const CodeFormat& format = grid.format;
  Group g{};
  g.least = static_cast<float>(format.code_min);
  g.most = static_cast<float>(format.code_max);
  g.offset = format.offset;
  g.inverse = scale.inverse;
  g.stored = scale.stored;
  const float step = __builtin_fabsf(scale.stored);
  switch (estimator.kind) {
    case Estimator::Kind::straight_through:
      g.bound = __builtin_inff();
      g.on_value = true;
      break;
    case Estimator::Kind::clip: {
      const float down = -(g.least + g.offset), up = g.most + g.offset;
      const float reach = down > up ? down : up;
      g.bound = estimator.strength * reach * step;
      g.on_value = true;
      break;
    }
    case Estimator::Kind::trust:
      g.bound = estimator.strength * step * 0.5f * (1.0f + 1e-6f);
      break;
  }
  return g;
}

template <Rounding rounding>
void quantize_row(const Grid& grid, const Estimator& estimator, const float* z, int64_t row,
                  int64_t columns, const RowsOut& out) {
  const int64_t size = grid.format.group == 0 ? columns : grid.format.group;
  const int64_t groups = columns / size;
  uint8_t* mask = out.mask ? out.mask + row * mask_stride(columns) : nullptr;
  for (int64_t k = 0; k < groups; ++k) {
    const int64_t column = k * size, at = row * columns + column;
    const Scale scale = scale_of(grid, z + column, size);
    if (out.scales) out.scales[row * groups + k] = scale.stored;
    quantize_group<rounding>(group_of(grid, estimator, scale), z + column, size, column,
                             out.codes ? out.codes + at : nullptr, out.f32 ? out.f32 + at : nullptr,
                             out.bf16 ? out.bf16 + at : nullptr, mask);
  }
}

using RowFunction = void (*)(const Grid&, const Estimator&, const float*, int64_t, int64_t,
                             const RowsOut&);

RowFunction row_function(Rounding rounding) {
  switch (rounding) {
    case Rounding::floor:
      return quantize_row<Rounding::floor>;
    case Rounding::nearest:
      return quantize_row<Rounding::nearest>;
    case Rounding::ggml_shift:
      return quantize_row<Rounding::ggml_shift>;
    case Rounding::half_away:
      return quantize_row<Rounding::half_away>;
  }
  return nullptr;
}

}  // namespace

void quantize_rows(const Grid& grid, const Estimator& estimator, const RowsIn& in,
                   const RowsOut& out, float* scratch) {
  const RowFunction quantize = row_function(grid.rounding);
  for (int64_t r = 0; r < in.rows; ++r) {
    const int64_t at = r * in.columns;
    const float* z = in.bf16 ? scratch : in.f32 + at;
    if (in.bf16 || grid.format.hadamard > 1) {
      for (int64_t c = 0; c < in.columns; c += kLanes) {
        const int64_t n = in.columns - c;
        store(scratch + c, in.bf16 ? bf16_load(in.bf16 + at + c, n) : load(in.f32 + at + c, n), n);
      }
      z = scratch;
    }
    if (grid.format.hadamard > 1) fwht_row(scratch, in.columns, grid.format.hadamard);
    quantize(grid, estimator, z, r, in.columns, out);
  }
}

}  // namespace terse::TERSE_ISA
