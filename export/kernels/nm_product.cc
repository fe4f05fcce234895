// Sixty-four tokens side by side, one multiply-add a kept element and vector of tokens.
#if defined(__AVX2__)
#include <immintrin.h>
#else
#include <cmath>
#endif

#include "export/kernels/declarations.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int kTokens = 64;

#if defined(__AVX512F__)
constexpr int kVectors = 4;
using Vector = __m512;
inline Vector load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void store(float* p, Vector v) {
  _mm512_storeu_ps(p, v);
}
inline Vector splat(float x) {
  return _mm512_set1_ps(x);
}
inline Vector fused(Vector a, Vector b, Vector c) {
  return _mm512_fmadd_ps(a, b, c);
}
#elif defined(__AVX2__)
constexpr int kVectors = 8;
using Vector = __m256;
inline Vector load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline void store(float* p, Vector v) {
  _mm256_storeu_ps(p, v);
}
inline Vector splat(float x) {
  return _mm256_set1_ps(x);
}
inline Vector fused(Vector a, Vector b, Vector c) {
  return _mm256_fmadd_ps(a, b, c);
}
#else
constexpr int kVectors = 64;
using Vector = float;
inline Vector load(const float* p) {
  return *p;
}
inline void store(float* p, Vector v) {
  *p = v;
}
inline Vector splat(float x) {
  return x;
}
inline Vector fused(Vector a, Vector b, Vector c) {
  return std::fma(a, b, c);
}
#endif
constexpr int kWidth = kTokens / kVectors;

}  // namespace

// sums[64] += sum over the kept of x[(group, position)][64], x packed [columns][64].
void nm_product(const float* values, const uint16_t* positions, int64_t groups, int64_t keep,
                int64_t of, const float* x, float* sums) {
  Vector sum[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) sum[v] = load(sums + v * kWidth);
  for (int64_t g = 0; g < groups; ++g, x += of * kTokens)
    for (int64_t k = 0; k < keep; ++k) {
      const Vector value = splat(*values++);
      const float* at = x + *positions++ * int64_t{kTokens};
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[v] = fused(value, load(at + v * kWidth), sum[v]);
    }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(sums + v * kWidth, sum[v]);
}

}  // namespace terse::TERSE_ISA
