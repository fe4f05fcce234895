#include <cmath>

#include "trainer/model/ops/cross_entropy_bf16.h"
#include "trainer/model/ops/vectors_bf16.h"

namespace terse {
namespace TERSE_ISA {
namespace {

float float_of(uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
}

uint16_t rounded(float x) {
  return static_cast<uint16_t>(_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set1_ps(x)), 0));
}

float highest(const uint16_t* row, int64_t vocab) {
  __m512 top = load_bf16(row), other = load_bf16(row + 16);
  for (int64_t i = 32; i < vocab; i += 32) {
    top = _mm512_max_ps(top, load_bf16(row + i));
    other = _mm512_max_ps(other, load_bf16(row + i + 16));
  }
  return _mm512_reduce_max_ps(_mm512_max_ps(top, other));
}

// Of one row, which becomes its gradient.
float row_loss(uint16_t* row, int64_t target, int64_t vocab, float scale, float* kept) {
  const float chosen = float_of(row[target]), top = highest(row, vocab);
  const __m512 shift = _mm512_set1_ps(-top * kLog2E), factor = _mm512_set1_ps(kLog2E);
  const __m512 lowest = _mm512_set1_ps(-126.0f);  // first: NaN stays NaN
  __m512 total = _mm512_setzero_ps();
  for (int64_t i = 0; i < vocab; i += 16) {
    const __m512 e =
        exp2(_mm512_max_ps(lowest, _mm512_fmadd_ps(load_bf16(row + i), factor, shift)));
    total = _mm512_add_ps(total, e);
    _mm512_storeu_ps(kept + i, e);
  }
  const float mass = _mm512_reduce_add_ps(total);
  const __m512 share = _mm512_set1_ps(scale / mass);
  for (int64_t i = 0; i < vocab; i += 32)
    store_bf16(row + i, _mm512_mul_ps(_mm512_loadu_ps(kept + i), share),
               _mm512_mul_ps(_mm512_loadu_ps(kept + i + 16), share));
  row[target] = rounded((kept[target] / mass - 1.0f) * scale);  // rounded once, from fp32
  return std::log(mass) + top - chosen;
}

}  // namespace
}  // namespace TERSE_ISA

using namespace TERSE_ISA;

void cross_entropy_bf16(uint16_t* logits, const int64_t* targets, float* loss, int64_t rows,
                        int64_t vocab, float scale) {
  alignas(64) float kept[kMostBf16Vocabulary];
  for (int64_t r = 0; r < rows; ++r)
    loss[r] = row_loss(logits + r * vocab, targets[r], vocab, scale, kept);
}

}  // namespace terse
