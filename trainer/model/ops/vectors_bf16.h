// For files compiled by terse_bf16_kernels, whose results become bf16.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace terse::TERSE_ISA {
namespace {

#define TERSE_BF16_INLINE __attribute__((always_inline)) inline

constexpr float kLog2E = 1.44269504088896341f;

// 2^x, relative error below 2^-18, which is far finer than the bf16 that it becomes; 0 far below.
TERSE_BF16_INLINE __m512 exp2(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.3333558146e-3f);  // (ln 2)^i / i!
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291076e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504108665e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022650696e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718056e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

TERSE_BF16_INLINE __m512 load_bf16(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// 32 values, rounded to nearest even; subnormal ones to zero.
TERSE_BF16_INLINE void store_bf16(uint16_t* p, __m512 low, __m512 high) {
  _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

}  // namespace
}  // namespace terse::TERSE_ISA
