// The bits of |x| of sixteen fp32 lanes, compared as integers: the order of magnitudes, exact for
// denormals, with infinities and NaNs last. Only for files compiled by terse_kernels().
#pragma once
#include <cstdint>

#include "comm/codec/kernels/simd16.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int32_t kMagnitude = 0x7fffffff;

#if defined(TERSE_ISA_avx512)

using M16 = __m512i;
inline M16 magnitude(F16 x) {
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(kMagnitude));
}
inline M16 broadcast_magnitude(int32_t m) {
  return _mm512_set1_epi32(m);
}
inline M16 load_magnitude(const int32_t* p) {
  return _mm512_loadu_si512(p);
}
inline M16 larger(M16 a, M16 b) {
  return _mm512_max_epi32(a, b);
}
inline int32_t largest(M16 m) {
  return _mm512_reduce_max_epi32(m);
}
inline uint32_t at_least(M16 m, M16 threshold) {
  return mask_bits(_mm512_cmpge_epi32_mask(m, threshold));
}

#elif defined(TERSE_ISA_avx2)

struct M16 {
  __m256i a, b;
};
inline M16 magnitude(F16 x) {
  const __m256i mask = _mm256_set1_epi32(kMagnitude);
  return {_mm256_and_si256(_mm256_castps_si256(x.a), mask),
          _mm256_and_si256(_mm256_castps_si256(x.b), mask)};
}
inline M16 broadcast_magnitude(int32_t m) {
  return {_mm256_set1_epi32(m), _mm256_set1_epi32(m)};
}
inline M16 load_magnitude(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
inline M16 larger(M16 x, M16 y) {
  return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
inline int32_t largest(M16 m) {
  const __m256i eight = _mm256_max_epi32(m.a, m.b);
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
inline uint32_t at_least(M16 m, M16 threshold) {
  const auto below = [](__m256i x, __m256i t) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(t, x))));
  };
  return 0xffffu ^ (below(m.a, threshold.a) | below(m.b, threshold.b) << 8);
}

#else

struct M16 {
  int32_t v[16];
};
inline M16 load_magnitude(const int32_t* p) {
  M16 m;
  for (int i = 0; i < 16; ++i) m.v[i] = p[i];
  return m;
}
inline M16 magnitude(const F16& x) {
  M16 m;
  __builtin_memcpy(m.v, x.v, sizeof m.v);
  for (int i = 0; i < 16; ++i) m.v[i] &= kMagnitude;
  return m;
}
inline M16 broadcast_magnitude(int32_t value) {
  M16 m;
  for (int i = 0; i < 16; ++i) m.v[i] = value;
  return m;
}
inline M16 larger(const M16& a, const M16& b) {
  M16 m;
  for (int i = 0; i < 16; ++i) m.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return m;
}
inline int32_t largest(const M16& m) {
  int32_t all = m.v[0];
  for (int i = 1; i < 16; ++i) all = m.v[i] > all ? m.v[i] : all;
  return all;
}
inline uint32_t at_least(const M16& m, const M16& threshold) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) bits |= static_cast<uint32_t>(m.v[i] >= threshold.v[i]) << i;
  return bits;
}

#endif

}  // namespace
}  // namespace terse::TERSE_ISA
