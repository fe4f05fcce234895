#include "base/product/codes.h"
#include "base/product/tile.h"

namespace terse {

using namespace TERSE_ISA;

namespace {

constexpr uint32_t kUnsigned = 0x80808080u;  // turns four signed bytes into unsigned ones, + 128

int32_t byte_sum(__m512i signed_bytes, __m512i sum) {
  return _mm512_reduce_add_epi32(_mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), signed_bytes));
}

// Sum of a row's codes.
int32_t row_sum(const int8_t* row, int64_t k) {
  int32_t sum = 0;
  for (int64_t i = 0; i < k; i += 64)
    sum += byte_sum(_mm512_loadu_si512(row + i), _mm512_setzero_si512());
  return sum;
}

// (2 B - 512) Qa; modulo 2^32, as the sums before the last addition are.
int32_t row_term(const int8_t* row, int64_t k, const CodeOffsets& offsets) {
  return static_cast<int32_t>(static_cast<uint32_t>(2 * offsets.right - 512) *
                              static_cast<uint32_t>(row_sum(row, k)));
}

// 16 columns of one row: y = T scale, T = 4 (sum - 128 Qa) + 2 B Qa + column term.
TERSE_ALWAYS_INLINE __m512 value(Int8Words::Vector sum, __m512i of_row, const CodePanels& b,
                                 int64_t column, __m512 row_scale) {
  const __m512i column_term = _mm512_loadu_si512(b.terms + column);
  const __m512i total =
      _mm512_add_epi32(_mm512_slli_epi32((__m512i)sum, 2), _mm512_add_epi32(of_row, column_term));
  const __m512 scale = _mm512_mul_ps(row_scale, _mm512_loadu_ps(b.scales + column));
  return _mm512_mul_ps(_mm512_cvtepi32_ps(total), scale);
}

}  // namespace

void pack_codes(const int8_t* codes, int64_t k, int64_t first, int64_t last, uint32_t* panels) {
  const auto* words = reinterpret_cast<const uint32_t*>(codes);
  const int64_t quads = k / 4;
  for (int64_t r = first * 16; r < last * 16; r += 16)
    for (int64_t q = 0; q < quads; q += 16)
      transpose_words(words + r * quads + q, quads,
                      panels + (r / kColumns * quads + q) * kColumns + r % kColumns, kColumns,
                      _mm512_set1_epi32(static_cast<int>(kUnsigned)));
}

void column_terms(const int8_t* codes, int64_t k, const CodeOffsets& offsets, int64_t first,
                  int64_t last, int32_t* terms) {
  for (int64_t r = first; r < last; ++r)
    terms[r] = 2 * offsets.left * row_sum(codes + r * k, k) +
               static_cast<int32_t>(k) * offsets.left * offsets.right;
}

void multiply_codes(const CodeRows& a, const CodePanels& b, int64_t k, int64_t n, uint16_t* c) {
  // Rows of a that stay in the second cache while all panels pass by.
  constexpr int64_t kBytes = 384 << 10;
  constexpr int64_t kMostRows = 1536;
  const int64_t fitting = (kBytes / k + kRows) / kRows * kRows;
  const int64_t block = fitting < kMostRows ? fitting : kMostRows;
  int32_t sums[kMostRows];
  for (int64_t r = 0; r < a.rows; r += block) {
    const int64_t count = a.rows - r < block ? a.rows - r : block;
    const int8_t* rows = a.codes + r * k;
    for (int64_t i = 0; i < count; ++i) sums[i] = row_term(rows + i * k, k, b.offsets);
    const Left left{reinterpret_cast<const uint32_t*>(rows), k / 4, 1};
    for (int64_t panel = 0; panel < n / kColumns; ++panel) {
      const int64_t column = panel * kColumns;
      tiles<Int8Words>(
          left, count, b.words + column * (k / 4),
          k / 4, [&](int64_t row, const Int8Words::Sums& s) __attribute__((always_inline)) {
            const __m512i term = _mm512_set1_epi32(sums[row]);
            const __m512 scale = _mm512_set1_ps(a.scales[r + row]);
            const Sums out = {
                value(s[0], term, b, column, scale), value(s[1], term, b, column + 16, scale),
                value(s[2], term, b, column + 32, scale), value(s[3], term, b, column + 48, scale)};
            store_row(c + (r + row) * n + column, out);
          });
    }
  }
}

}  // namespace terse
