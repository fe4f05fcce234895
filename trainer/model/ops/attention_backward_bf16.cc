#include <cmath>
#include <initializer_list>

#include "trainer/model/ops/attention_tiles.h"

namespace terse {
namespace TERSE_ISA {
namespace {

struct Memory {
  Memory(const Sequence& s, uint32_t* scratch) {
    Scratch m{scratch};
    const int64_t all = s.padded() * s.head;
    for (uint16_t** dense : {&q, &k, &v, &dout}) *dense = m.take<uint16_t>(all);
    for (uint32_t** panels : {&k_columns, &v_columns, &k_rows, &q_rows, &dout_rows})
      *panels = m.take<uint32_t>(all / 2);
    ds = m.take<uint16_t>(kBlock * s.padded());
    dk = m.take<float>(all), dv = m.take<float>(all);
    dq = m.take<float>(kBlock * s.head);
    scores = m.take<float>(kBlock * kBlock), dp = m.take<float>(kBlock * kBlock);
    p_pairs = m.take<uint32_t>(kBlock * kBlock / 2);
    ds_pairs = m.take<uint32_t>(kBlock * kBlock / 2);
  }
  uint16_t *q, *k, *v, *dout;             // [padded, head]
  uint32_t *k_columns, *v_columns;        // panels of k^T, v^T
  uint32_t *k_rows, *q_rows, *dout_rows;  // panels of k, q, dout
  uint16_t* ds;                           // [64, padded]
  float *dk, *dv, *dq;                    // [padded, head]; dq: of 64 queries
  float *scores, *dp;                     // a tile
  uint32_t *p_pairs, *ds_pairs;           // a tile, by pairs of queries
};

// Per query of a block.
struct Row {
  float lse, delta;
};

struct Tile {
  int64_t visible;  // keys of this tile that the first row sees ...
  int64_t step;     // ... and how many more each next one does
  float scale;
};

// 16 keys of one query: p, and ds = p (dp - delta) scale.
struct Lanes {
  __m256i p, ds;
};
TERSE_INLINE Lanes lanes(const float* scores, const float* dp, const Row& row, __mmask16 visible,
                         float scale) {
  const __m512 exponent = _mm512_fmsub_ps(_mm512_loadu_ps(scores), _mm512_set1_ps(scale * kLog2E),
                                          _mm512_set1_ps(row.lse));
  const __m512 p = _mm512_maskz_mov_ps(visible, exp2(exponent));
  const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(dp), _mm512_set1_ps(row.delta));
  const __m512 ds = _mm512_maskz_mul_ps(visible, _mm512_mul_ps(p, d), _mm512_set1_ps(scale));
  return {(__m256i)_mm512_cvtneps_pbh(p), (__m256i)_mm512_cvtneps_pbh(ds)};
}

TERSE_INLINE void store_words(uint32_t* to, __m256i even, __m256i odd) {
  _mm512_storeu_si512(to, _mm512_or_si512(_mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16),
                                          _mm512_cvtepu16_epi32(even)));
}

// A tile's p and ds from its scores and dp; `ds` is its place in the block's rows.
void differentiate(const Memory& m, const Tile& t, const Row* rows, int64_t count, uint16_t* ds,
                   int64_t stride) {
  for (int64_t r = 0; r < count; r += 2) {
    const bool lone = r + 1 == count;
    for (int64_t i = 0; i < kBlock; i += 16) {
      const auto half = [&](int64_t row) __attribute__((always_inline)) {
        const Lanes l = lanes(m.scores + row * kBlock + i, m.dp + row * kBlock + i, rows[row],
                              first_lanes(t.visible + row * t.step - i), t.scale);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(ds + row * stride + i), l.ds);
        return l;
      };
      const Lanes even = half(r);
      const Lanes odd = lone ? Lanes{_mm256_setzero_si256(), _mm256_setzero_si256()} : half(r + 1);
      store_words(m.p_pairs + r / 2 * kBlock + i, even.p, odd.p);
      store_words(m.ds_pairs + r / 2 * kBlock + i, even.ds, odd.ds);
    }
  }
}

// Row sums of dout out.
void block_rows(const Sequence& s, const Memory& m, const uint16_t* out, const float* lse,
                int64_t first, int64_t count, Row* rows) {
  for (int64_t r = 0; r < count; ++r) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < s.head; i += kLanes)
      sum = _mm512_fmadd_ps(load(m.dout + (first + r) * s.head + i),
                            load(out + (first + r) * s.heads * s.head + i), sum);
    rows[r] = {lse[first + r], _mm512_reduce_add_ps(sum)};
  }
}

// Queries [first, first + count) of one head, whose `out`, `lse` and `dq` are given.
void block(const Sequence& s, const Memory& m, const uint16_t* out, const float* lse, int64_t first,
           int64_t count, uint16_t* dq) {
  const int64_t padded = s.padded(), pairs = s.head / 2, parts = s.head / kBlock;
  const int64_t panels = s.causal ? first / kBlock + 1 : padded / kBlock;
  const int64_t query_pairs = (count + 1) / 2;
  Row rows[kBlock];
  block_rows(s, m, out, lse, first, count, rows);
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int64_t key = panel * kBlock;
    fp32_tiles<false>(rows_of(m.q, first, s.head), count, m.k_columns + key * pairs, pairs,
                      m.scores, kBlock);
    fp32_tiles<false>(rows_of(m.dout, first, s.head), count, m.v_columns + key * pairs, pairs, m.dp,
                      kBlock);
    const Tile tile{(s.causal ? first + 1 : s.length) - key, s.causal ? 1 : 0,
                    1.0f / std::sqrt(static_cast<float>(s.head))};
    differentiate(m, tile, rows, count, m.ds + key, padded);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t at = part * padded / 2 * kBlock + first / 2 * kBlock;
      const int64_t to = key * s.head + part * kBlock;
      fp32_tiles<true>({m.p_pairs, 1, kBlock}, kBlock, m.dout_rows + at, query_pairs, m.dv + to,
                       s.head);
      fp32_tiles<true>({m.ds_pairs, 1, kBlock}, kBlock, m.q_rows + at, query_pairs, m.dk + to,
                       s.head);
    }
  }
  for (int64_t part = 0; part < parts; ++part)
    fp32_tiles<false>(rows_of(m.ds, 0, padded), count, m.k_rows + part * padded / 2 * kBlock,
                      panels * kBlock / 2, m.dq + part * kBlock, s.head);
  for (int64_t r = 0; r < count; ++r)
    rotate_row(m.dq + r * s.head, s.cosine + (first + r) * pairs, s.sine + (first + r) * pairs,
               -1.0f, pairs, dq + (first + r) * s.row());
}

void write_keys_and_values(const Sequence& s, const Memory& m, uint16_t* dk, uint16_t* dv) {
  const int64_t half = s.head / 2;
  for (int64_t t = 0; t < s.length; ++t) {
    rotate_row(m.dk + t * s.head, s.cosine + t * half, s.sine + t * half, -1.0f, half,
               dk + t * s.row());
    for (int64_t i = 0; i < s.head; i += kLanes)
      store(dv + t * s.row() + i, load(m.dv + t * s.head + i));
  }
}

}  // namespace
}  // namespace TERSE_ISA

using namespace TERSE_ISA;

void tiled_attention_backward(const Sequence& s, int64_t kv, const uint16_t* out, const float* lse,
                              const uint16_t* dout, uint32_t* scratch, uint16_t* dqkv) {
  const Memory m(s, scratch);
  const int64_t padded = s.padded(), group = s.heads / s.kv_heads;
  const int64_t k = (s.heads + kv) * s.head, v = k + s.kv_heads * s.head;
  gather(s, s.qkv + k, s.row(), true, m.k);
  gather(s, s.qkv + v, s.row(), false, m.v);
  pack_transposed(m.k, s.head, 0, padded / 16, m.k_columns);
  pack_transposed(m.v, s.head, 0, padded / 16, m.v_columns);
  pack_pairs(m.k, padded, s.head, 0, padded / 2, m.k_rows);
  for (float* sum : {m.dk, m.dv})
    std::memset(sum, 0, static_cast<size_t>(padded * s.head) * sizeof *sum);
  for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
    gather(s, s.qkv + h * s.head, s.row(), true, m.q);
    gather(s, dout + h * s.head, s.heads * s.head, false, m.dout);
    pack_pairs(m.q, padded, s.head, 0, padded / 2, m.q_rows);
    pack_pairs(m.dout, padded, s.head, 0, padded / 2, m.dout_rows);
    for (int64_t first = 0; first < s.length; first += kBlock)
      block(s, m, out + h * s.head, lse + h * s.length, first,
            s.length - first < kBlock ? s.length - first : kBlock, dqkv + h * s.head);
  }
  write_keys_and_values(s, m, dqkv + k, dqkv + v);
}

}  // namespace terse
