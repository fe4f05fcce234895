// Matrix products of bf16 operands with fp32 sums, for processors with AVX512_BF16 (and
// AVX512_VNNI, which they all have; base/product/codes.h) but no AMX. There they run at the rate of
// the instruction (vdpbf16ps, two multiply-adds a lane); oneDNN, which at::mm calls, reaches 55 to
// 85 % of it and packs its operands anew in every call. With AMX oneDNN is the faster one.
//
// The right operand comes as panels: columns in groups of 64, and in each group, for every two
// successive rows k, 64 words of two bf16: (b[k][n], b[k + 1][n]). A word is what one lane of
// vdpbf16ps multiplies at once.
//
// All functions run on the calling thread, over a range that the caller chooses; a result has the
// same bits whatever the ranges: an element is one fp32 sum in the order of k. As the instruction
// does, subnormal numbers count as zero.
#pragma once
#include <cstdint>

namespace terse {

// Of this processor, unless TERSE_ISA lowers the instruction set (base/isa.h). All that follows
// needs it.
bool product_available();

constexpr int64_t kPanelColumns = 64;

// Words in the panels of a [k, n] operand. n: a multiple of 64, as everywhere below.
constexpr int64_t panel_words(int64_t k, int64_t n) {
  return (k + 1) / 2 * n;
}

// Panels of x^T for x [n, k], for rows [16 first, 16 last) of x. n: a multiple of 16 in a buffer of
// whole panels; k: a multiple of 32.
void pack_transposed(const uint16_t* x, int64_t k, int64_t first, int64_t last, uint32_t* panels);

// Panels of x [k, n] for pairs of rows [first, last); an odd last row is paired with zeros.
void pack_pairs(const uint16_t* x, int64_t k, int64_t n, int64_t first, int64_t last,
                uint32_t* panels);
// The same from `strip`, which holds rows [2 first, 2 first + count) of x alone.
void pack_pair_strip(const uint16_t* strip, int64_t count, int64_t k, int64_t n, int64_t first,
                     uint32_t* panels);

// n fp32 values to bf16, nearest even; NaN stays NaN. n: a multiple of 32.
void round_values(const float* from, int64_t n, uint16_t* to);

// c [rows, n] = a [rows, k] b; k even, all row-major and contiguous.
void multiply(const uint16_t* a, const uint32_t* b, int64_t rows, int64_t k, int64_t n,
              uint16_t* c);

// c [m, n] (+)= a^T b in fp32, from the panels of a [k, m] and b [k, n], for the 64 x 64 tiles
// [first, last) of (m / 64)(n / 64), row-major.
void multiply_transposed(const uint32_t* a, const uint32_t* b, int64_t k, int64_t n, int64_t first,
                         int64_t last, bool add, float* c);

}  // namespace terse
