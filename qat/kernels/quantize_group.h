// A group's codes, decoded values and mask from its values and its scale.
#pragma once
#include "qat/kernels/codes_of.h"
#include "qat/kernels/declarations.h"
#include "qat/kernels/scales.h"
#include "qat/quantize.h"

namespace terse::TERSE_ISA {

// What all groups of a call share.
struct Plan {
  const Grid* grid;
  Estimator estimator;
  Statistic statistic;  // that a scale is made from
  bool given;           // scales are read, not computed
  float least;          // scale
  float tensor;         // second scale
  float factor;         // of the scale, to the value of one step of the code
  float reach;          // of the outermost code
  float gap;            // between neighbouring codes, the widest
  float unfold;         // one over the format's unit
};

static inline Plan plan_of(const Grid& grid, const Estimator& estimator, float tensor) {
  const CodeFormat& format = grid.format;
  const float down = -(static_cast<float>(format.code_min) + format.offset);
  const float up = static_cast<float>(format.code_max) + format.offset;
  Plan plan{};
  plan.grid = &grid;
  plan.estimator = estimator;
  plan.statistic = statistic_kind(grid.rule);
  plan.given = grid.rule == ScaleRule::learned || format.group < 0;
  if (plan.given) plan.statistic = Statistic::largest;  // whether all is finite
  plan.least = grid.least > 0.0f ? grid.least : smallest_normal(format.scale_type);
  plan.tensor = grid.dynamic ? grid.second : tensor;
  plan.factor = format.unit * plan.tensor;
  const bool fp4 = grid.rounding == Rounding::fp4 || grid.rounding == Rounding::fp4_quotient;
  plan.gap = fp4 ? 4.0f : 1.0f;
  plan.reach = (down > up ? down : up) + (grid.dynamic ? plan.gap / 2 : 0.0f);
  plan.unfold = 1.0f / format.unit;
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

static inline Group group_of(const Plan& plan, const Scale& scale) {
  const CodeFormat& format = plan.grid->format;
  Group g{};
  g.least = static_cast<float>(format.code_min);
  g.most = static_cast<float>(format.code_max);
  g.offset = format.offset;
  g.inverse = scale.inverse * plan.unfold;
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

TERSE_INLINE uint32_t trusted(const Group& g, f32x16 z, f32x16 zq) {
  if (g.inside) {
    const f32x16 t = z * g.inverse;
    return at_most_bits(splat(g.least + g.offset), t) & at_most_bits(t, splat(g.most + g.offset));
  }
  return at_most_bits(absolute(g.on_value ? z : zq - z), splat(g.bound));
}

// Where a group goes, each null if nobody asked.
struct Targets {
  int8_t* codes;
  float* f32;
  uint16_t* bf16;
  uint8_t* mask;   // of the row
  int64_t column;  // of the group in it
};

template <Rounding rounding>
TERSE_INLINE void quantize_some(const Group& g, const float* z, int64_t c, int64_t n,
                                const Targets& to) {
  const f32x16 x = load(z + c, n);
  const f32x16 q = code_of<rounding>(x, g.step, g.inverse, g.least, g.most);
  const f32x16 zq = (q + g.offset) * g.step;
  if (to.codes) store(to.codes + c, to_int8(to_int(q)), n);
  if (to.f32) store(to.f32 + c, zq, n);
  if (to.bf16) store(to.bf16 + c, bf16_round(zq), n);
  if (to.mask) set_mask(to.mask, to.column + c, n, trusted(g, x, zq));
}

// The same for 64 columns that begin at a whole byte of the mask: what does not depend on the
// column is asked once for all of them, and their codes are stored together.
constexpr int64_t kMany = 4 * kLanes;

template <Rounding rounding>
TERSE_INLINE void quantize_many(const Group& g, const float* z, int64_t c, const Targets& to) {
  f32x16 x[4], q[4], zq[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = load(z + c + i * kLanes);
    q[i] = code_of<rounding>(x[i], g.step, g.inverse, g.least, g.most);
    zq[i] = (q[i] + g.offset) * g.step;
  }
  if (to.codes) {
    ask_for<true>(to.codes + c, kElementsTogether);
    store_int8(to.codes + c, q);
  }
  if (to.f32) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) store(to.f32 + c + i * kLanes, zq[i]);
  }
  if (to.bf16) {
    ask_for<true>(to.bf16 + c, kElementsTogether);
    ask_for<true>(to.bf16 + c + kMany / 2, kElementsTogether);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) store(to.bf16 + c + i * kLanes, bf16_round(zq[i]));
  }
  if (!to.mask) return;
  const bool distance = !g.inside && !g.on_value;
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const uint32_t passes =
        distance ? at_most_bits(absolute(zq[i] - x[i]), splat(g.bound)) : trusted(g, x[i], zq[i]);
    const uint16_t bits = static_cast<uint16_t>(passes);
    __builtin_memcpy(to.mask + (to.column + c + i * kLanes) / 8, &bits, sizeof bits);
  }
}

// By value: stores of codes may alias whatever has an address.
template <Rounding rounding>
void quantize_group(const Group g, const float* z, int64_t n, const Targets to) {
  int64_t c = 0;
  if (to.column % 8 == 0)
    for (; c + kMany <= n; c += kMany) quantize_many<rounding>(g, z, c, to);
  for (; c < n; c += kLanes) quantize_some<rounding>(g, z, c, n - c, to);
}

}  // namespace terse::TERSE_ISA
