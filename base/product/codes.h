// Products of integer codes, y = (qa + oa) sa ((qw + ow) sw)^T, on AVX512_VNNI: vpdpbusd multiplies
// four pairs of bytes a lane, twice as many as base/product/product.h's instruction does of bf16.
//
// With A = 2 oa and B = 2 ow, whole numbers,
//
//   T[m][n] = sum over k of (2 qa[m][k] + A)(2 qw[n][k] + B)
//           = 4 sum qa qw + 2 B sum qa + 2 A sum qw + K A B,     y[m][n] = T sa[m] (sw[n] / 4)
//
// (as QuEST's kernel, arXiv 2502.05003, has it for half-integer grids). T is exact: |2 q + A| <=
// 255 and K <= 32768 keep it inside 32 bits. What is rounded: T to fp32, the product of the two
// scales, y to fp32, and that to bf16. So |y - exact| <= 3 2^-24 |exact| before the last rounding.
//
// All functions run on the calling thread over a range that the caller chooses; results have the
// same bits whatever the ranges. All need product_available(). Free of torch.
#pragma once
#include <cstdint>

namespace terse {

constexpr int64_t kMostCodes = 32768;  // the largest K

// Twice the offsets of both grids: 0, or 1 for half-integer grids.
struct CodeOffsets {
  int32_t left = 0;   // A
  int32_t right = 0;  // B
};

// Left operand [rows, k], row-major and contiguous.
struct CodeRows {
  const int8_t* codes;
  const float* scales;  // a row's
  int64_t rows;
};

// Right operand: codes [n, k], of which 64 rows are a panel of k / 4 x 64 words; a word holds four
// codes of a row, + 128.
struct CodePanels {
  const uint32_t* words;  // n k / 4
  const int32_t* terms;   // [n], 2 A sum qw + K A B
  const float* scales;    // [n], sw / 4
  CodeOffsets offsets;
};

// For rows [16 first, 16 last) of codes [n, k]. n: a multiple of 16 in a buffer of whole panels; k:
// a multiple of 64, as everywhere below.
void pack_codes(const int8_t* codes, int64_t k, int64_t first, int64_t last, uint32_t* panels);

// CodePanels::terms of rows [first, last).
void column_terms(const int8_t* codes, int64_t k, const CodeOffsets& offsets, int64_t first,
                  int64_t last, int32_t* terms);

// c [rows, n] in bf16; n: a multiple of 64.
void multiply_codes(const CodeRows& a, const CodePanels& b, int64_t k, int64_t n, uint16_t* c);

}  // namespace terse
