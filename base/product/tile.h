// The inner loop of all products: a tile of up to 6 x 64 sums in registers. For files compiled with
// AVX512_BF16 only (cmake/Terse.cmake, terse_bf16_kernels).
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace terse::TERSE_ISA {
namespace {

#define TERSE_ALWAYS_INLINE __attribute__((always_inline)) inline

constexpr int64_t kColumns = 64;
constexpr int kVectors = 4;
constexpr int kRows = 6;  // 24 sums, 4 vectors of b and 1 of a: 29 of 32 registers

// Left operand: word (row, pair) lies at at[row * row_stride + pair * pair_stride].
struct Left {
  const uint32_t* at;
  int64_t row_stride;
  int64_t pair_stride;
};

// What a lane adds to its sum: a word of the left operand, the same for all lanes, by a word of the
// right one.
struct Bf16Words {  // two products
  using Vector = __m512;
  using Sums = Vector[kVectors];
  static TERSE_ALWAYS_INLINE Vector zero() { return _mm512_setzero_ps(); }
  static TERSE_ALWAYS_INLINE Vector dot(Vector sum, __m512i left, __m512i right) {
    return _mm512_dpbf16_ps(sum, (__m512bh)left, (__m512bh)right);
  }
};
struct Int8Words {  // four products, signed bytes by unsigned ones
  // Not __m512i, which may alias anything: g++ 12 would store every sum in every step.
  using Vector = int32_t __attribute__((vector_size(64)));
  using Sums = Vector[kVectors];
  static TERSE_ALWAYS_INLINE Vector zero() { return Vector{}; }
  static TERSE_ALWAYS_INLINE Vector dot(Vector sum, __m512i left, __m512i right) {
    return (Vector)_mm512_dpbusd_epi32((__m512i)sum, right, left);
  }
};
using Sums = Bf16Words::Sums;

// Calls start(row, sums), then, with the products added, finish(row, sums) for rows [0, kCount) of
// a b; `b` is one panel.
template <typename Words, int kCount, typename Start, typename Finish>
TERSE_ALWAYS_INLINE void tile(const Left& a, const uint32_t* b, int64_t pairs, const Start& start,
                              const Finish& finish) {
  typename Words::Sums sums[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) start(i, sums[i]);
#pragma GCC unroll 2  // gains up to 5 % where panels come from the third cache
  for (int64_t p = 0; p < pairs; ++p) {
    __m512i right[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) right[j] = _mm512_loadu_si512(b + p * kColumns + 16 * j);
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      const uint32_t word = a.at[i * a.row_stride + p * a.pair_stride];
      const __m512i left = _mm512_set1_epi32(static_cast<int>(word));
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[i][j] = Words::dot(sums[i][j], left, right[j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) finish(i, sums[i]);
}

// The same for rows [0, rows).
template <typename Words, typename Start, typename Finish>
TERSE_ALWAYS_INLINE void tiles_from(const Left& a, int64_t rows, const uint32_t* b, int64_t pairs,
                                    const Start& start, const Finish& finish) {
  int64_t r = 0;
  const auto begin = [&](int i, Words::Sums& sums) __attribute__((always_inline)) {
    start(r + i, sums);
  };
  const auto end = [&](int i, const Words::Sums& sums) __attribute__((always_inline)) {
    finish(r + i, sums);
  };
  const auto left = [&] { return Left{a.at + r * a.row_stride, a.row_stride, a.pair_stride}; };
  for (; r + kRows <= rows; r += kRows) tile<Words, kRows>(left(), b, pairs, begin, end);
  switch (rows - r) {
    case 5:
      return tile<Words, 5>(left(), b, pairs, begin, end);
    case 4:
      return tile<Words, 4>(left(), b, pairs, begin, end);
    case 3:
      return tile<Words, 3>(left(), b, pairs, begin, end);
    case 2:
      return tile<Words, 2>(left(), b, pairs, begin, end);
    case 1:
      return tile<Words, 1>(left(), b, pairs, begin, end);
    default:
      return;
  }
}

template <typename Words>
TERSE_ALWAYS_INLINE void clear(typename Words::Sums& sums) {
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) sums[j] = Words::zero();
}

// finish(row, sums) with the sums of a b alone.
template <typename Words = Bf16Words, typename Finish>
TERSE_ALWAYS_INLINE void tiles(const Left& a, int64_t rows, const uint32_t* b, int64_t pairs,
                               const Finish& finish) {
  tiles_from<Words>(
      a, rows, b, pairs,
      [](int64_t, Words::Sums & sums) __attribute__((always_inline)) { clear<Words>(sums); },
      finish);
}

// 64 values, rounded to nearest even.
TERSE_ALWAYS_INLINE void store_row(uint16_t* to, const Sums& s) {
  _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(s[1], s[0]));
  _mm512_storeu_si512(to + 32, (__m512i)_mm512_cvtne2ps_pbh(s[3], s[2]));
}

// Two rows of 32 bf16 become 32 words of two.
TERSE_ALWAYS_INLINE void store_pairs(uint32_t* to, __m512i even, __m512i odd) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even, low, odd));
  _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(even, high, odd));
}

// to[c * to_stride + r] = from[r * from_stride + c] ^ flip for a 16 x 16 block of words.
TERSE_ALWAYS_INLINE void transpose_words(const uint32_t* from, int64_t from_stride, uint32_t* to,
                                         int64_t to_stride, __m512i flip = _mm512_setzero_si512()) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    a[i] = _mm512_xor_si512(_mm512_loadu_si512(from + i * from_stride), flip);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // a[i + c] holds columns c, 4 + c, 8 + c, 12 + c of four rows
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i even = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
    const __m512i odd = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
    const __m512i even2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
    const __m512i odd2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_storeu_si512(to + c * to_stride, _mm512_shuffle_i32x4(even, even2, 0x88));
    _mm512_storeu_si512(to + (4 + c) * to_stride, _mm512_shuffle_i32x4(odd, odd2, 0x88));
    _mm512_storeu_si512(to + (8 + c) * to_stride, _mm512_shuffle_i32x4(even, even2, 0xdd));
    _mm512_storeu_si512(to + (12 + c) * to_stride, _mm512_shuffle_i32x4(odd, odd2, 0xdd));
  }
}

}  // namespace
}  // namespace terse::TERSE_ISA
