#include <cmath>

#include "trainer/model/ops/attention_tiles.h"

namespace terse {
namespace TERSE_ISA {
namespace {

struct Memory {
  Memory(const Sequence& s, uint32_t* scratch) {
    Scratch m{scratch};
    const int64_t all = s.padded() * s.head;
    q = m.take<uint16_t>(all), k = m.take<uint16_t>(all), v = m.take<uint16_t>(all);
    keys = m.take<uint32_t>(all / 2), values = m.take<uint32_t>(all / 2);
    scores = m.take<float>(kBlock * s.padded());
    p = m.take<uint16_t>(kBlock * s.padded());
  }
  uint16_t *q, *k, *v;      // [padded, head]
  uint32_t *keys, *values;  // panels of k^T and of v
  float* scores;            // [64, padded]
  uint16_t* p;              // the same, not yet divided by the row's sum
};

struct RowSum {
  float highest, sum;
};

// p = 2^((scores - highest) scale), zero from `visible` to `columns`.
RowSum exponentials(const float* scores, int64_t visible, int64_t columns, float scale,
                    uint16_t* p) {
  __m512 top = _mm512_set1_ps(scores[0]);
  for (int64_t i = 0; i < visible; i += 16) {
    const __mmask16 lanes = first_lanes(visible - i);
    top = _mm512_mask_max_ps(top, lanes, top, _mm512_loadu_ps(scores + i));
  }
  const float highest = _mm512_reduce_max_ps(top);
  const __m512 factor = _mm512_set1_ps(scale), shift = _mm512_set1_ps(highest);
  __m512 total = _mm512_setzero_ps();
  for (int64_t i = 0; i < columns; i += 16) {
    const __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(scores + i), shift), factor);
    const __m512 e = _mm512_maskz_mov_ps(first_lanes(visible - i), exp2(x));
    total = _mm512_add_ps(total, e);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + i), (__m256i)_mm512_cvtneps_pbh(e));
  }
  return {highest, _mm512_reduce_add_ps(total)};
}

// Queries [first, first + rows) of head h.
void attend(const Sequence& s, const Memory& m, int64_t h, int64_t first, int64_t rows,
            uint16_t* out, float* lse) {
  const int64_t padded = s.padded(), panels = s.causal ? first / kBlock + 1 : padded / kBlock;
  const float scale = kLog2E / std::sqrt(static_cast<float>(s.head));
  for (int64_t panel = 0; panel < panels; ++panel)
    fp32_tiles<false>(rows_of(m.q, first, s.head), rows, m.keys + panel * s.head / 2 * kBlock,
                      s.head / 2, m.scores + panel * kBlock, padded);
  float inverse[kBlock];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t visible = s.causal ? first + r + 1 : s.length;
    const RowSum row =
        exponentials(m.scores + r * padded, visible, panels * kBlock, scale, m.p + r * padded);
    inverse[r] = 1.0f / row.sum;
    lse[h * s.length + first + r] = row.highest * scale + std::log2(row.sum);
  }
  for (int64_t part = 0; part < s.head / kBlock; ++part) {
    uint16_t* to = out + (first * s.heads + h) * s.head + part * kBlock;
    tiles(
        rows_of(m.p, 0, padded), rows, m.values + part * padded / 2 * kBlock,
        panels * kBlock / 2, [&](int64_t row, const Sums& sums) __attribute__((always_inline)) {
          const __m512 factor = _mm512_set1_ps(inverse[row]);
          const Sums scaled = {_mm512_mul_ps(sums[0], factor), _mm512_mul_ps(sums[1], factor),
                               _mm512_mul_ps(sums[2], factor), _mm512_mul_ps(sums[3], factor)};
          store_row(to + row * s.heads * s.head, scaled);
        });
  }
}

}  // namespace
}  // namespace TERSE_ISA

using namespace TERSE_ISA;

void tiled_attention_forward(const Sequence& s, int64_t kv, uint32_t* scratch, uint16_t* out,
                             float* lse) {
  const Memory m(s, scratch);
  const int64_t padded = s.padded(), group = s.heads / s.kv_heads;
  gather(s, s.qkv + (s.heads + kv) * s.head, s.row(), true, m.k);
  gather(s, s.qkv + (s.heads + s.kv_heads + kv) * s.head, s.row(), false, m.v);
  pack_transposed(m.k, s.head, 0, padded / 16, m.keys);
  pack_pairs(m.v, padded, s.head, 0, padded / 2, m.values);
  for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
    gather(s, s.qkv + h * s.head, s.row(), true, m.q);
    for (int64_t first = 0; first < s.length; first += kBlock)
      attend(s, m, h, first, s.length - first < kBlock ? s.length - first : kBlock, out, lse);
  }
}

}  // namespace terse
