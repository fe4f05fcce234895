#include "base/product/product.h"
#include "base/product/tile.h"

namespace terse {

using namespace TERSE_ISA;

void pack_transposed(const uint16_t* x, int64_t k, int64_t first, int64_t last, uint32_t* panels) {
  const auto* words = reinterpret_cast<const uint32_t*>(x);
  const int64_t pairs = k / 2;
  for (int64_t r = first * 16; r < last * 16; r += 16)
    for (int64_t p = 0; p < pairs; p += 16)
      transpose_words(words + r * pairs + p, pairs,
                      panels + (r / kColumns * pairs + p) * kColumns + r % kColumns, kColumns);
}

void pack_pairs(const uint16_t* x, int64_t k, int64_t n, int64_t first, int64_t last,
                uint32_t* panels) {
  const int64_t end = 2 * last < k ? 2 * last : k;
  pack_pair_strip(x + 2 * first * n, end - 2 * first, k, n, first, panels);
}

void pack_pair_strip(const uint16_t* strip, int64_t count, int64_t k, int64_t n, int64_t first,
                     uint32_t* panels) {
  const int64_t pairs = (k + 1) / 2;
  for (int64_t r = 0; r < count; r += 2) {
    const uint16_t* even = strip + r * n;
    const bool lone = r + 1 == count;
    uint32_t* to = panels + (first + r / 2) * kColumns;
    for (int64_t c = 0; c < n; c += 32)
      store_pairs(to + c / kColumns * pairs * kColumns + c % kColumns, _mm512_loadu_si512(even + c),
                  lone ? _mm512_setzero_si512() : _mm512_loadu_si512(even + n + c));
  }
}

void round_values(const float* from, int64_t n, uint16_t* to) {
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 x = _mm512_loadu_ps(from + i);
    const __m512i u = _mm512_castps_si512(x), high = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i rounded =
        _mm512_mask_or_epi32(_mm512_srli_epi32(up, 16), nan, high, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm512_cvtepi32_epi16(rounded));
  }
}

void multiply(const uint16_t* a, const uint32_t* b, int64_t rows, int64_t k, int64_t n,
              uint16_t* c) {
  // Rows of a that stay in the second cache while all panels pass by.
  constexpr int64_t kBytes = 384 << 10;
  const int64_t block = (kBytes / (2 * k) + kRows) / kRows * kRows;
  for (int64_t r = 0; r < rows; r += block) {
    const int64_t count = rows - r < block ? rows - r : block;
    const Left left{reinterpret_cast<const uint32_t*>(a + r * k), k / 2, 1};
    for (int64_t panel = 0; panel < n / kColumns; ++panel) {
      uint16_t* to = c + r * n + panel * kColumns;
      tiles(
          left, count, b + panel * (k / 2) * kColumns,
          k / 2, [&](int64_t row, const Sums& sums) __attribute__((always_inline)) {
            store_row(to + row * n, sums);
          });
    }
  }
}

void multiply_transposed(const uint32_t* a, const uint32_t* b, int64_t k, int64_t n, int64_t first,
                         int64_t last, bool add, float* c) {
  const int64_t pairs = (k + 1) / 2, across = n / kColumns;
  for (int64_t t = first; t < last; ++t) {
    const Left left{a + t / across * pairs * kColumns, 1, kColumns};
    float* to = c + (t / across * n + t % across) * kColumns;
    tiles(
        left, kColumns, b + t % across * pairs * kColumns,
        pairs, [&](int64_t row, const Sums& sums) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int j = 0; j < kVectors; ++j) {
            float* at = to + row * n + 16 * j;
            _mm512_storeu_ps(at, add ? _mm512_add_ps(_mm512_loadu_ps(at), sums[j]) : sums[j]);
          }
        });
  }
}

}  // namespace terse
