#include "comm/codec/kernels/dense_kernels.h"

#include "comm/codec/kernels/simd16.h"

namespace terse::TERSE_ISA {
namespace {

inline uint32_t as_uint(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, sizeof u);
  return u;
}

inline float as_float(uint32_t u) {
  float x;
  __builtin_memcpy(&x, &u, sizeof x);
  return x;
}

// base/half.h's arithmetic, repeated because its inline functions must not be shared between
// instruction sets; a test compares all 16-bit results.
inline uint16_t round_bf16(float x) {
  const uint32_t u = as_uint(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40u;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

inline float widen(uint16_t h) {
  return as_float(static_cast<uint32_t>(h) << 16);
}

#if defined(TERSE_ISA_avx512)
// 32 elements make one cache line of bf16.
inline __m512i round_bf16_32(const float* in) {
  const auto half = [](const float* p) {
    const __m512i u = _mm512_loadu_si512(p);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    const __m512i magnitude = _mm512_and_si512(u, _mm512_set1_epi32(0x7fffffff));
    const __mmask16 nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
    const __m512i chosen = _mm512_mask_blend_epi32(nan, rounded, quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16));
  };
  return _mm512_inserti64x4(_mm512_castsi256_si512(half(in)), half(in + 16), 1);
}
#endif

}  // namespace

void bf16_encode(const float* in, int64_t n, uint16_t* out) {
  int64_t i = 0;
#if defined(TERSE_ISA_avx512)
  if (reinterpret_cast<uintptr_t>(out) % 64 == 0)
    for (; i + 32 <= n; i += 32)
      _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), round_bf16_32(in + i));
#endif
  for (; i < n; ++i) out[i] = round_bf16(in[i]);
}

void bf16_encode_residual(const float* in, const float* residual, int64_t n, uint16_t* out,
                          float* shadow) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = in[i] + residual[i];
    const uint16_t q = round_bf16(x);
    out[i] = q;
    shadow[i] = x - widen(q);
  }
}

void bf16_decode(const uint16_t* in, int64_t n, float* out) {
  int64_t i = 0;
#if defined(TERSE_ISA_avx512)
  if (reinterpret_cast<uintptr_t>(out) % 64 == 0)
    for (; i + 16 <= n; i += 16) {
      const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i));
      stream(out + i, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)));
    }
#endif
  for (; i < n; ++i) out[i] = widen(in[i]);
}

void sum_fp32(const float* const* rows, int64_t count, int64_t first, int64_t n, float factor,
              float* out) {
  const float* row = rows[0] + first;
  for (int64_t i = 0; i < n; ++i) out[i] = row[i];
  for (int64_t k = 1; k < count; ++k) {
    row = rows[k] + first;
    for (int64_t i = 0; i < n; ++i) out[i] += row[i];
  }
  for (int64_t i = 0; i < n; ++i) out[i] *= factor;
}

void sum_bf16(const uint16_t* const* rows, int64_t count, int64_t first, int64_t n, float factor,
              float* out) {
  const uint16_t* row = rows[0] + first;
  for (int64_t i = 0; i < n; ++i) out[i] = widen(row[i]);
  for (int64_t k = 1; k < count; ++k) {
    row = rows[k] + first;
    for (int64_t i = 0; i < n; ++i) out[i] += widen(row[i]);
  }
  for (int64_t i = 0; i < n; ++i) out[i] *= factor;
}

}  // namespace terse::TERSE_ISA
