// Sixteen fp32 lanes under one spelling for AVX-512, AVX2 and plain C++, so that a kernel is
// written once and rounds alike everywhere. Only for files compiled by terse_kernels(): everything
// is static, so that the linker cannot merge a function of one instruction set into another's.
#pragma once
#include <cstdint>

#if defined(TERSE_ISA_avx512) || defined(TERSE_ISA_avx2)
#include <immintrin.h>
#endif
#if defined(TERSE_ISA_avx512)
#include "base/mask_bits.h"
#endif

namespace terse::TERSE_ISA {
namespace {

#if defined(TERSE_ISA_avx512)

using F16 = __m512;
using Mask16 = __mmask16;
inline F16 load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void store(float* p, F16 v) {
  _mm512_storeu_ps(p, v);
}
inline void stream(float* p, F16 v) {
  _mm512_stream_ps(p, v);
}
inline F16 broadcast(float s) {
  return _mm512_set1_ps(s);
}
inline F16 add(F16 a, F16 b) {
  return _mm512_add_ps(a, b);
}
inline F16 sub(F16 a, F16 b) {
  return _mm512_sub_ps(a, b);
}
inline F16 mul(F16 a, F16 b) {
  return _mm512_mul_ps(a, b);
}
inline F16 div(F16 a, F16 b) {
  return _mm512_div_ps(a, b);
}
// a < b ? a : b, so that a NaN in a is passed over.
inline F16 minimum(F16 a, F16 b) {
  return _mm512_min_ps(a, b);
}
inline F16 maximum(F16 a, F16 b) {
  return _mm512_max_ps(a, b);
}
inline F16 absolute(F16 a) {
  return _mm512_abs_ps(a);
}
inline Mask16 less(F16 a, F16 b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
// Whole numbers from 0 to 255 as bytes, and back.
inline void store_bytes(uint8_t* p, F16 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
}
inline F16 load_bytes(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}
inline Mask16 not_negative(F16 a) {
  return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GE_OQ);
}
inline uint32_t bits(Mask16 m) {
  return mask_bits(m);
}
inline Mask16 mask(uint32_t b) {
  return static_cast<Mask16>(b);
}
inline F16 select(Mask16 m, F16 yes, F16 no) {
  return _mm512_mask_blend_ps(m, no, yes);
}
inline void stream_fence() {
  _mm_sfence();
}

#elif defined(TERSE_ISA_avx2)

struct F16 {
  __m256 a, b;
};
using Mask16 = F16;
inline F16 load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline void store(float* p, F16 v) {
  _mm256_storeu_ps(p, v.a), _mm256_storeu_ps(p + 8, v.b);
}
inline void stream(float* p, F16 v) {
  _mm256_stream_ps(p, v.a), _mm256_stream_ps(p + 8, v.b);
}
inline F16 broadcast(float s) {
  return {_mm256_set1_ps(s), _mm256_set1_ps(s)};
}
inline F16 add(F16 x, F16 y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
inline F16 sub(F16 x, F16 y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
inline F16 mul(F16 x, F16 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
inline F16 div(F16 x, F16 y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
inline F16 minimum(F16 x, F16 y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
inline F16 maximum(F16 x, F16 y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
inline Mask16 less(F16 x, F16 y) {
  return {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
}
inline void store_bytes(uint8_t* p, F16 v) {
  const __m256i words =  // the halves of a and b in turn
      _mm256_packus_epi32(_mm256_cvttps_epi32(v.a), _mm256_cvttps_epi32(v.b));
  const __m256i sorted = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(p),
      _mm_packus_epi16(_mm256_castsi256_si128(sorted), _mm256_extracti128_si256(sorted, 1)));
}
inline F16 load_bytes(const uint8_t* p) {
  const auto half = [](const uint8_t* at) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
  };
  return {half(p), half(p + 8)};
}
inline F16 absolute(F16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline Mask16 not_negative(F16 x) {
  const __m256 zero = _mm256_setzero_ps();
  return {_mm256_cmp_ps(x.a, zero, _CMP_GE_OQ), _mm256_cmp_ps(x.b, zero, _CMP_GE_OQ)};
}
inline uint32_t bits(Mask16 m) {
  return static_cast<uint32_t>(_mm256_movemask_ps(m.a)) |
         static_cast<uint32_t>(_mm256_movemask_ps(m.b)) << 8;
}
inline Mask16 mask(uint32_t b) {
  const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const auto half = [&](uint32_t byte) {
    const __m256i chosen = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(byte)), each);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, each));
  };
  return {half(b), half(b >> 8)};
}
inline F16 select(Mask16 m, F16 yes, F16 no) {
  return {_mm256_blendv_ps(no.a, yes.a, m.a), _mm256_blendv_ps(no.b, yes.b, m.b)};
}
inline void stream_fence() {
  _mm_sfence();
}

#else

struct F16 {
  float v[16];
};
using Mask16 = uint32_t;
template <typename Op>
inline F16 each(Op op) {
  F16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = op(i);
  return r;
}
inline F16 load(const float* p) {
  return each([&](int i) { return p[i]; });
}
inline void store(float* p, const F16& x) {
  for (int i = 0; i < 16; ++i) p[i] = x.v[i];
}
inline void stream(float* p, const F16& x) {
  store(p, x);
}
inline F16 broadcast(float s) {
  return each([&](int) { return s; });
}
inline F16 add(const F16& x, const F16& y) {
  return each([&](int i) { return x.v[i] + y.v[i]; });
}
inline F16 sub(const F16& x, const F16& y) {
  return each([&](int i) { return x.v[i] - y.v[i]; });
}
inline F16 mul(const F16& x, const F16& y) {
  return each([&](int i) { return x.v[i] * y.v[i]; });
}
inline F16 div(const F16& x, const F16& y) {
  return each([&](int i) { return x.v[i] / y.v[i]; });
}
inline F16 minimum(const F16& x, const F16& y) {
  return each([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
}
inline F16 maximum(const F16& x, const F16& y) {
  return each([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
}
inline Mask16 less(const F16& x, const F16& y) {
  uint32_t m = 0;
  for (int i = 0; i < 16; ++i) m |= static_cast<uint32_t>(x.v[i] < y.v[i]) << i;
  return m;
}
inline void store_bytes(uint8_t* p, const F16& x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<uint8_t>(x.v[i]);
}
inline F16 load_bytes(const uint8_t* p) {
  return each([&](int i) { return static_cast<float>(p[i]); });
}
inline F16 absolute(const F16& x) {
  return each([&](int i) { return __builtin_fabsf(x.v[i]); });
}
inline Mask16 not_negative(const F16& x) {
  uint32_t m = 0;
  for (int i = 0; i < 16; ++i) m |= static_cast<uint32_t>(x.v[i] >= 0) << i;
  return m;
}
inline uint32_t bits(Mask16 m) {
  return m;
}
inline Mask16 mask(uint32_t b) {
  return b;
}
inline F16 select(Mask16 m, const F16& yes, const F16& no) {
  return each([&](int i) { return (m >> i & 1) != 0 ? yes.v[i] : no.v[i]; });
}
inline void stream_fence() {}

#endif

}  // namespace
}  // namespace terse::TERSE_ISA
