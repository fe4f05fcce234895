// Selection by rank: an element stays if fewer than N of its group beat it, by a larger magnitude
// or an equal one at a lower index. Magnitudes compare as integers, their bits without the sign.
#include <cstring>
#include <utility>

#include "base/vec.h"
#include "sparsity/kernels/declarations.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int32_t kInfinity = 0x7f800000;

TERSE_INLINE i32x16 magnitude(const float* p, int64_t n) {
  return bits_of(absolute(load(p, n)));
}

TERSE_INLINE void store_bits(uint8_t* mask, uint32_t bits, int64_t n) {
  if (n < kLanes) bits &= (1u << n) - 1u;
  mask[0] = static_cast<uint8_t>(bits);
  if (n > 8) mask[1] = static_cast<uint8_t>(bits >> 8);
}

// Lane i takes lane (i + by) % of of its group of `of` lanes.
template <int of, int by, size_t... lane>
TERSE_INLINE i32x16 rotated(i32x16 x, std::index_sequence<lane...>) {
  return __builtin_shufflevector(x, x, (lane / of * of + (lane + by) % of)...);
}
// -1 in lanes whose partner in rotated<of, by> lies at a lower index.
template <int of, int by, size_t... lane>
constexpr i32x16 partner_is_lower(std::index_sequence<lane...>) {
  return i32x16{((lane + by) % of < lane % of ? -1 : 0)...};
}
// x - 1 where the partner is lower: an equal one then beats x too.
template <int of, int by>
TERSE_INLINE i32x16 beats(i32x16 other, i32x16 x) {
  constexpr auto lanes = std::make_index_sequence<kLanes>();
  return rotated<of, by>(other, lanes) > x + partner_is_lower<of, by>(lanes);
}
template <int of, size_t... less_one>
TERSE_INLINE i32x16 rank_inside(i32x16 x, std::index_sequence<less_one...>) {
  return -(beats<of, static_cast<int>(less_one) + 1>(x, x) + ...);
}

// Groups that fit into a vector.
template <int of>
bool select_small(const float* weight, int64_t columns, int64_t keep, uint8_t* mask) {
  i32x16 most = {};
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t n = columns - c;
    const i32x16 x = magnitude(weight + c, n);
    most = x > most ? x : most;
    const i32x16 rank = rank_inside<of>(x, std::make_index_sequence<of - 1>());
    store_bits(mask + c / 8, lane_bits(rank < static_cast<int32_t>(keep)), n);
  }
  return largest_lane(most) < kInfinity;
}

// How many lanes of `other` beat each lane of x: another vector of the group, all of it at higher
// or all at lower indices; all sixteen rotations.
template <size_t... by>
TERSE_INLINE i32x16 rank_against(i32x16 other, i32x16 x, std::index_sequence<by...>) {
  constexpr auto lanes = std::make_index_sequence<kLanes>();
  return -((rotated<16, static_cast<int>(by)>(other, lanes) > x) + ...);
}

// Groups of whole vectors.
bool select_vectors(const float* weight, int64_t columns, int64_t keep, int64_t of, uint8_t* mask) {
  i32x16 most = {};
  for (int64_t group = 0; group < columns; group += of) {
    for (int64_t a = group; a < group + of; a += kLanes) {
      const i32x16 x = magnitude(weight + a, kLanes);
      most = x > most ? x : most;
      i32x16 rank = rank_inside<16>(x, std::make_index_sequence<kLanes - 1>());
      for (int64_t b = group; b < group + of; b += kLanes) {
        if (b == a) continue;
        const i32x16 other = magnitude(weight + b, kLanes);
        const i32x16 bar = b < a ? x - 1 : x;
        rank += rank_against(other, bar, std::make_index_sequence<kLanes>());
      }
      store_bits(mask + a / 8, lane_bits(rank < static_cast<int32_t>(keep)), kLanes);
    }
  }
  return largest_lane(most) < kInfinity;
}

int32_t magnitude_bits(float x) {
  return __builtin_bit_cast(int32_t, x) & 0x7fffffff;
}

// Any other group: the compiler vectorizes the counting.
bool select_any(const float* weight, int64_t columns, int64_t keep, int64_t of, uint8_t* mask) {
  int32_t most = 0;
  std::memset(mask, 0, static_cast<size_t>((columns + 7) / 8));
  for (int64_t group = 0; group < columns; group += of) {
    const float* w = weight + group;
    for (int64_t i = 0; i < of; ++i) {
      const int32_t x = magnitude_bits(w[i]);
      most = x > most ? x : most;
      int32_t rank = 0;
      for (int64_t j = 0; j < i; ++j) rank += magnitude_bits(w[j]) >= x;
      for (int64_t j = i + 1; j < of; ++j) rank += magnitude_bits(w[j]) > x;
      const int64_t c = group + i;
      const auto bit = static_cast<uint8_t>((rank < keep ? 1u : 0u) << (c % 8));
      mask[c / 8] = static_cast<uint8_t>(mask[c / 8] | bit);
    }
  }
  return most < kInfinity;
}

TERSE_INLINE uint32_t load_bits(const uint8_t* mask, int64_t n) {
  uint32_t bits = mask[0];
  if (n > 8) bits |= static_cast<uint32_t>(mask[1]) << 8;
  return bits;
}

}  // namespace

bool select_row(const float* weight, int64_t columns, int64_t keep, int64_t of, uint8_t* mask) {
  switch (of) {
    case 2:
      return select_small<2>(weight, columns, keep, mask);
    case 4:
      return select_small<4>(weight, columns, keep, mask);
    case 8:
      return select_small<8>(weight, columns, keep, mask);
    case 16:
      return select_small<16>(weight, columns, keep, mask);
    default:
      return of % kLanes == 0 ? select_vectors(weight, columns, keep, of, mask)
                              : select_any(weight, columns, keep, of, mask);
  }
}

void blend_row(const float* f32, const uint16_t* bf16, const uint8_t* mask, float beta,
               int64_t columns, float* out_f32, uint16_t* out_bf16) {
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t n = columns - c;
    const f32x16 x = f32 != nullptr ? load(f32 + c, n) : bf16_load(bf16 + c, n);
    const uint32_t bits = load_bits(mask + c / 8, n);
    f32x16 y = keep(x, bits);
    if (beta != 0.0f) y = (f32x16)((i32x16)y | (i32x16)keep(x * beta, ~bits & 0xffffu));
    if (out_f32 != nullptr) store(out_f32 + c, y, n);
    if (out_bf16 != nullptr) store(out_bf16 + c, bf16_round(y), n);
  }
}

void add_pruned_row(const float* in, const uint8_t* mask, float factor, int64_t columns,
                    float* out) {
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t n = columns - c;
    const uint32_t pruned = ~load_bits(mask + c / 8, n) & 0xffffu;
    const f32x16 y = load(out + c, n) + keep(load(in + c, n) * factor, pruned);
    store(out + c, y, n);
  }
}

}  // namespace terse::TERSE_ISA
