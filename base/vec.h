// Sixteen fp32 lanes as a compiler vector: one zmm, two ymm or four xmm, by instruction set. Only
// the few operations that the compiler lowers badly are written with intrinsics. Elementwise IEEE
// arithmetic in a fixed order is what makes all instruction sets agree bit for bit.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AVX512DQ__)
#include "base/mask_bits.h"
#endif

#include <cstdint>
#include <cstring>

#define TERSE_INLINE inline __attribute__((always_inline))

namespace terse::TERSE_ISA {

using f32x16 = float __attribute__((vector_size(64)));
using i32x16 = int32_t __attribute__((vector_size(64)));
using u32x16 = uint32_t __attribute__((vector_size(64)));
using u16x16 = uint16_t __attribute__((vector_size(32)));
using i8x16 = int8_t __attribute__((vector_size(16)));

constexpr int64_t kLanes = 16;

TERSE_INLINE f32x16 load(const float* p) {
  f32x16 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
TERSE_INLINE f32x16 load(const float* p, int64_t n) {  // n lanes, the others 0
  if (n >= kLanes) return load(p);
  f32x16 v = {};
  std::memcpy(&v, p, static_cast<size_t>(n) * sizeof(float));
  return v;
}
template <typename Vector, typename T>
TERSE_INLINE void store(T* p, Vector v, int64_t n = kLanes) {
  if (n >= kLanes)
    std::memcpy(p, &v, sizeof v);
  else
    std::memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
}

// Asks for the cache line that is `ahead` elements after p, or past the end of all, which is
// harmless. Of use where reading and writing take turns: the processor's own look-ahead stops
// meanwhile, and at every page.
template <bool to_write, typename T>
TERSE_INLINE void ask_for(const T* p, int64_t ahead) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p) + static_cast<uintptr_t>(ahead) * sizeof(T);
  __builtin_prefetch(reinterpret_cast<const void*>(at), to_write);
}

TERSE_INLINE f32x16 splat(float x) {
  return x - f32x16{};  // unlike x + 0, which makes -0 to 0, no instruction
}
TERSE_INLINE i32x16 bits_of(f32x16 x) {
  return (i32x16)x;
}
TERSE_INLINE f32x16 absolute(f32x16 x) {
  return (f32x16)((i32x16)x & 0x7fffffff);
}
// Also turns NaN into `low`. x > low ? x : low is what the processor's maximum is.
TERSE_INLINE f32x16 clamp(f32x16 x, float low, float high) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_min_ps(_mm512_max_ps((__m512)x, _mm512_set1_ps(low)), _mm512_set1_ps(high));
#else
  const f32x16 raised = x > low ? x : splat(low);
  return raised < high ? raised : splat(high);
#endif
}

// For |x| < 2^31; exact.
TERSE_INLINE i32x16 to_int(f32x16 x) {
  return __builtin_convertvector(x, i32x16);
}
TERSE_INLINE f32x16 to_float(i32x16 x) {
  return __builtin_convertvector(x, f32x16);
}
// For |x| < 2^31. The sign of a zero is not the same everywhere.
TERSE_INLINE f32x16 round_down(f32x16 x) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#else
  const f32x16 whole = to_float(to_int(x));
  return whole > x ? whole - 1.0f : whole;
#endif
}
// By halves: lanes i and i + 8, then i and i + 4, then 2, then 1.
TERSE_INLINE float sum_of_lanes(f32x16 x) {
#if defined(__AVX512DQ__)
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  float lane[kLanes];
  std::memcpy(lane, &x, sizeof lane);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) lane[k] += lane[k + width];
  return lane[0];
#endif
}

TERSE_INLINE f32x16 bf16_load(const uint16_t* p, int64_t n) {
  u16x16 h = {};
  if (n >= kLanes)
    std::memcpy(&h, p, sizeof h);
  else
    std::memcpy(&h, p, static_cast<size_t>(n) * sizeof(uint16_t));
#if defined(__AVX512F__)
  const __m512i wide = _mm512_cvtepu16_epi32((__m256i)h);
  return (f32x16)_mm512_slli_epi32(wide, 16);
#else
  return (f32x16)(__builtin_convertvector(h, u32x16) << 16);
#endif
}
// Nearest even, NaN kept: bf16_from_float of base/half.h.
TERSE_INLINE u16x16 bf16_round(f32x16 x) {
  const u32x16 u = (u32x16)x;
  const u32x16 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const u32x16 nan = (u >> 16) | 0x40u;
  const u32x16 h = ((u & 0x7fffffffu) > 0x7f800000u) ? nan : rounded;
#if defined(__AVX512F__)
  return (u16x16)_mm512_cvtepi32_epi16((__m512i)h);
#else
  return __builtin_convertvector(h, u16x16);
#endif
}
TERSE_INLINE i8x16 to_int8(i32x16 x) {
#if defined(__AVX512F__)
  return (i8x16)_mm512_cvtepi32_epi8((__m512i)x);
#else
  return __builtin_convertvector(x, i8x16);
#endif
}
// Whole numbers from -128 to 127 as 64 bytes.
TERSE_INLINE void store_int8(int8_t* p, const f32x16 (&x)[4]) {
#if defined(__AVX512BW__)
  const __m512i low = _mm512_packs_epi32((__m512i)to_int(x[0]), (__m512i)to_int(x[1]));
  const __m512i high = _mm512_packs_epi32((__m512i)to_int(x[2]), (__m512i)to_int(x[3]));
  // Packs work inside 128 bits: four bytes of each vector, then the next four of each.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high)));
#else
  for (int i = 0; i < 4; ++i) store(p + i * kLanes, to_int8(to_int(x[i])));
#endif
}
TERSE_INLINE f32x16 from_int8(const int8_t* p, int64_t n) {
  i8x16 v = {};
  if (n >= kLanes)
    std::memcpy(&v, p, sizeof v);
  else
    std::memcpy(&v, p, static_cast<size_t>(n));
#if defined(__AVX512F__)
  return to_float((i32x16)_mm512_cvtepi8_epi32((__m128i)v));
#else
  return to_float(__builtin_convertvector(v, i32x16));
#endif
}

// Bit i = lane i of a comparison (0 or -1).
TERSE_INLINE uint32_t lane_bits(i32x16 mask) {
#if defined(__AVX512DQ__)
  return mask_bits(_mm512_movepi32_mask((__m512i)mask));
#elif defined(__AVX2__)
  __m256 half[2];
  std::memcpy(half, &mask, sizeof half);
  return static_cast<uint32_t>(_mm256_movemask_ps(half[0])) |
         static_cast<uint32_t>(_mm256_movemask_ps(half[1])) << 8;
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= (static_cast<uint32_t>(mask[i]) & 1u) << i;
  return bits;
#endif
}
// The same of a <= b.
TERSE_INLINE uint32_t at_most_bits(f32x16 a, f32x16 b) {
#if defined(__AVX512DQ__)
  return mask_bits(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ));
#else
  return lane_bits(a <= b);
#endif
}
TERSE_INLINE int32_t largest_lane(i32x16 x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_epi32((__m512i)x);
#else
  int32_t lane[kLanes];
  std::memcpy(lane, &x, sizeof lane);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) lane[k] = lane[k + width] > lane[k] ? lane[k + width] : lane[k];
  return lane[0];
#endif
}
// x where the bit is set, else +0.
TERSE_INLINE f32x16 keep(f32x16 x, uint32_t bits) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_maskz_mov_ps(static_cast<__mmask16>(bits), (__m512)x);
#else
  const i32x16 one = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
  const i32x16 on = (one & static_cast<int32_t>(bits)) != 0;
  return (f32x16)((i32x16)x & on);
#endif
}

// One butterfly of the Walsh-Hadamard transform inside sixteen lanes, stride 1, 2, 4 or 8:
// lane i becomes x[i] + x[i ^ stride] if i has no bit `stride`, else x[i ^ stride] - x[i].
template <int stride>
TERSE_INLINE f32x16 butterfly(f32x16 x) {
#if defined(__AVX512F__)
  __m512 other;
  if constexpr (stride == 1) other = _mm512_permute_ps((__m512)x, 0xb1);
  if constexpr (stride == 2) other = _mm512_permute_ps((__m512)x, 0x4e);
  if constexpr (stride == 4) other = _mm512_shuffle_f32x4((__m512)x, (__m512)x, 0xb1);
  if constexpr (stride == 8) other = _mm512_shuffle_f32x4((__m512)x, (__m512)x, 0x4e);
  constexpr float s1 = stride == 1 ? -1.0f : 1.0f, s2 = stride == 2 ? -1.0f : 1.0f;
  constexpr float s4 = stride == 4 ? -1.0f : 1.0f, s8 = stride == 8 ? -1.0f : 1.0f;
  // Times +-1 is exact, so that this is the sum or the difference, rounded once.
  const __m512 sign =
      _mm512_setr_ps(1, s1, s2, s1 * s2, s4, s4 * s1, s4 * s2, s4 * s2 * s1, s8, s8 * s1, s8 * s2,
                     s8 * s2 * s1, s8 * s4, s8 * s4 * s1, s8 * s4 * s2, s8 * s4 * s2 * s1);
  return (f32x16)_mm512_fmadd_ps((__m512)x, sign, other);
#elif defined(__AVX2__)
  __m256 half[2];
  std::memcpy(half, &x, sizeof half);
  if constexpr (stride == 8) {
    const __m256 low = _mm256_add_ps(half[0], half[1]);
    half[1] = _mm256_sub_ps(half[0], half[1]);
    half[0] = low;
  } else {
    constexpr int minus = stride == 1 ? 0xaa : stride == 2 ? 0xcc : 0xf0;
    for (__m256& h : half) {
      __m256 other;
      if constexpr (stride == 1) other = _mm256_permute_ps(h, 0xb1);
      if constexpr (stride == 2) other = _mm256_permute_ps(h, 0x4e);
      if constexpr (stride == 4) other = _mm256_permute2f128_ps(h, h, 1);
      h = _mm256_blend_ps(_mm256_add_ps(other, h), _mm256_sub_ps(other, h), minus);
    }
  }
  std::memcpy(&x, half, sizeof half);
  return x;
#else
  f32x16 y;
  for (int i = 0; i < kLanes; ++i)
    y[i] = (i & stride) ? x[i ^ stride] - x[i] : x[i ^ stride] + x[i];
  return y;
#endif
}

}  // namespace terse::TERSE_ISA
