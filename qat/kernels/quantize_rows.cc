#include "qat/kernels/codes_of.h"
#include "qat/kernels/declarations.h"
#include "qat/kernels/fwht.h"
#include "qat/kernels/scales.h"

namespace terse::TERSE_ISA {
namespace {

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

// What all groups of a call share.
struct Plan {
  const Grid* grid;
  Estimator estimator;
  bool given;    // scales are read, not computed
  float least;   // scale
  float tensor;  // second scale
  float factor;  // of the scale, to the value of one step of the code
  float reach;   // of the outermost code
  float gap;     // between neighbouring codes, the widest
};

Plan plan_of(const Grid& grid, const Estimator& estimator, float tensor) {
  const CodeFormat& format = grid.format;
  const float down = -(static_cast<float>(format.code_min) + format.offset);
  const float up = static_cast<float>(format.code_max) + format.offset;
  Plan plan{};
  plan.grid = &grid;
  plan.estimator = estimator;
  plan.given = grid.rule == ScaleRule::learned || format.group < 0;
  plan.least = grid.least > 0.0f ? grid.least : smallest_normal(format.scale_type);
  plan.tensor = tensor;
  plan.factor = format.unit * tensor;
  plan.reach = down > up ? down : up;
  plan.gap = grid.rounding == Rounding::fp4 ? 4.0f : 1.0f;
  return plan;
}

// What one group needs besides its values.
struct Group {
  float least, most, offset;
  float inverse;  // of a step of the code
  float step;     // the value of a step of the code
  float bound;    // the estimator's threshold
  bool on_value;  // on |z|, else on |zq - z|
  bool inside;    // instead: the gradient passes where z lies between the outermost levels
};

Group group_of(const Plan& plan, const Scale& scale) {
  const CodeFormat& format = plan.grid->format;
  Group g{};
  g.least = static_cast<float>(format.code_min);
  g.most = static_cast<float>(format.code_max);
  g.offset = format.offset;
  g.inverse = scale.inverse * (1.0f / format.unit);
  g.step = scale.stored * plan.factor;
  const float size = __builtin_fabsf(g.step);
  switch (plan.estimator.kind) {
    case Estimator::Kind::straight_through:
      g.bound = __builtin_inff();
      g.on_value = true;
      break;
    case Estimator::Kind::clip:
      g.bound = plan.estimator.strength * plan.reach * size;
      g.on_value = true;
      break;
    case Estimator::Kind::lsq:
      g.inside = true;
      break;
    case Estimator::Kind::trust:
      g.bound = plan.estimator.strength * (plan.gap * size) * 0.5f * (1.0f + 1e-6f);
      break;
  }
  return g;
}

TERSE_INLINE uint32_t trusted(const Group& g, f32x16 z, f32x16 zq) {
  if (g.inside) {
    const f32x16 t = z * g.inverse;
    return lane_bits(t >= g.least + g.offset) & lane_bits(t <= g.most + g.offset);
  }
  const f32x16 measure = absolute(g.on_value ? z : zq - z);
  return lane_bits(measure <= g.bound);
}

template <Rounding rounding>
void quantize_group(const Group& g, const float* z, int64_t n, int64_t column, int8_t* codes,
                    float* f32, uint16_t* bf16, uint8_t* mask) {
  for (int64_t c = 0; c < n; c += kLanes) {
    const int64_t left = n - c;
    const f32x16 x = load(z + c, left);
    const f32x16 q = code_of<rounding>(x, g.step, g.inverse, g.least, g.most);
    const f32x16 zq = (q + g.offset) * g.step;
    if (codes) store(codes + c, to_int8(to_int(q)), left);
    if (f32) store(f32 + c, zq, left);
    if (bf16) store(bf16 + c, bf16_round(zq), left);
    if (mask) set_mask(mask, column + c, left, trusted(g, x, zq));
  }
}

template <Rounding rounding>
void quantize_row(const Plan& plan, const float* z, int64_t row, int64_t columns,
                  const RowsOut& out) {
  const Grid& grid = *plan.grid;
  const int64_t size = grid.format.group <= 0 ? columns : grid.format.group;
  const int64_t groups = columns / size;
  uint8_t* mask = out.mask ? out.mask + row * mask_stride(columns) : nullptr;
  for (int64_t k = 0; k < groups; ++k) {
    const int64_t column = k * size, at = row * columns + column;
    const float* group = z + column;
    float* kept =
        out.scales ? out.scales + (grid.format.group < 0 ? 0 : row * groups + k) : nullptr;
    const Scale scale = plan.given
                            ? given_scale(*kept, group, size)
                            : stored_scale(grid, scale_from(grid, statistic_of(grid, group, size)),
                                           plan.least, plan.tensor);
    if (kept && !plan.given) *kept = scale.stored;
    quantize_group<rounding>(group_of(plan, scale), group, size, column,
                             out.codes ? out.codes + at : nullptr, out.f32 ? out.f32 + at : nullptr,
                             out.bf16 ? out.bf16 + at : nullptr, mask);
  }
}

using RowFunction = void (*)(const Plan&, const float*, int64_t, int64_t, const RowsOut&);

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
    case Rounding::fp4:
      return quantize_row<Rounding::fp4>;
    case Rounding::quotient:
      return quantize_row<Rounding::quotient>;
  }
  return nullptr;
}

// Row r in the stored space: the input itself, or `scratch`.
const float* stored_row(const CodeFormat& format, const RowsIn& in, int64_t r, float* scratch) {
  const int64_t at = r * in.columns;
  if (!in.bf16 && format.hadamard <= 1) return in.f32 + at;
  for (int64_t c = 0; c < in.columns; c += kLanes) {
    const int64_t n = in.columns - c;
    store(scratch + c, in.bf16 ? bf16_load(in.bf16 + at + c, n) : load(in.f32 + at + c, n), n);
  }
  if (format.hadamard > 1) fwht_row(scratch, in.columns, format.hadamard);
  return scratch;
}

// The largest scale of a row's groups; NaN stays.
float largest_scale_of(const Grid& grid, const float* z, int64_t columns) {
  const int64_t size = grid.format.group <= 0 ? columns : grid.format.group;
  float most = 0.0f;
  for (int64_t c = 0; c < columns; c += size) {
    const float scale = scale_from(grid, statistic_of(grid, z + c, size));
    if (!(scale <= most)) most = scale;
  }
  return most;
}

}  // namespace

void quantize_rows(const Grid& grid, const Estimator& estimator, const RowsIn& in,
                   const RowsOut& out, float* scratch) {
  const RowFunction quantize = row_function(grid.rounding);
  const Plan plan = plan_of(grid, estimator, out.tensor_scale);
  for (int64_t r = 0; r < in.rows; ++r)
    quantize(plan, stored_row(grid.format, in, r, scratch), r, in.columns, out);
}

void row_statistics(const Grid& grid, const RowsIn& in, float* statistics, float* scratch) {
  for (int64_t r = 0; r < in.rows; ++r) {
    const float* z = stored_row(grid.format, in, r, scratch);
    statistics[r] = grid.format.group < 0 ? statistic_of(grid, z, in.columns)
                                          : largest_scale_of(grid, z, in.columns);
  }
}

}  // namespace terse::TERSE_ISA
