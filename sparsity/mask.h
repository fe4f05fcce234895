// Masks: one bit an element, 1 = the element stays, and the kernels that make and use them.
//
// Row r of a mask begins at byte r * mask_stride(columns); column c is bit c % 8 of its byte c / 8,
// bits beyond the last column are 0. Every instruction set and every split of rows among threads
// gives the same bits. Not thread-safe on overlapping output; one thread a call. Free of torch.
#pragma once
#include <cstdint>

#include "sparsity/pattern.h"

namespace terse {

constexpr int64_t mask_stride(int64_t columns) {
  return (columns + 7) / 8;
}

// The mask of `pattern` on fp32 [rows, columns], by magnitude; of equal magnitudes the lower index
// stays. For N:M, rows are independent: callers may split them; M must divide `columns`.
// Unstructured: by the largest of all given elements, so one call for the matrix. Returns false if
// an element is NaN or infinite; the mask is then worthless.
// Cost: N:M at a power of two up to 16, M - 1 compares a vector; else about M compares an element;
// unstructured three passes.
bool select_mask(const Pattern& pattern, const float* weight, int64_t rows, int64_t columns,
                 uint8_t* mask);

// fp32 or bf16 matrices (exactly one pointer set), row-major without gaps.
struct MaskedIn {
  const float* f32 = nullptr;
  const uint16_t* bf16 = nullptr;
};
struct MaskedOut {
  float* f32 = nullptr;
  uint16_t* bf16 = nullptr;  // rounded to nearest even
};

// out = in where the mask is 1, else beta in; with beta = 0 exactly +0. `out` may be `in`.
void blend_rows(const MaskedIn& in, const uint8_t* mask, float beta, int64_t rows, int64_t columns,
                const MaskedOut& out);

// out += factor in where the mask is 0. `out` may be `in`.
void add_pruned_rows(const float* in, const uint8_t* mask, float factor, int64_t rows,
                     int64_t columns, float* out);

// Elements that stay; elements on which two masks differ (their share is the paper's SAD).
int64_t count_kept(const uint8_t* mask, int64_t rows, int64_t columns);
int64_t count_different(const uint8_t* a, const uint8_t* b, int64_t rows, int64_t columns);

}  // namespace terse
