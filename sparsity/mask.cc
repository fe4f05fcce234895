#include "sparsity/mask.h"

#include <bit>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/isa.h"
#include "sparsity/kernels/declarations.h"

namespace terse {
namespace {

constexpr uint32_t kInfinity = 0x7f800000u;

uint32_t magnitude_bits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}

// What stays of the largest: all above the threshold, and the first `ties` that equal it.
struct Threshold {
  uint32_t bits = 0;
  int64_t ties = 0;
};

// The keep-th largest magnitude, a digit at a time from the highest: 11, 10 and 10 bits.
Threshold threshold_of(const float* w, int64_t n, int64_t keep) {
  Threshold t{0, keep};
  std::vector<int64_t> counts;
  uint32_t fixed = 0;  // digits that are known already
  for (const auto& [shift, width] : {std::pair{20, 11}, std::pair{10, 10}, std::pair{0, 10}}) {
    counts.assign(size_t{1} << width, 0);
    const uint32_t digit_mask = (1u << width) - 1u;
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t m = magnitude_bits(w[i]);
      if ((m & fixed) == t.bits) ++counts[m >> shift & digit_mask];
    }
    uint32_t digit = digit_mask;
    while (counts[digit] < t.ties) t.ties -= counts[digit--];
    t.bits |= digit << shift;
    fixed |= digit_mask << shift;
  }
  return t;
}

bool select_unstructured(const float* w, int64_t rows, int64_t columns, int64_t keep,
                         uint8_t* mask) {
  const int64_t n = rows * columns;
  std::memset(mask, 0, static_cast<size_t>(rows * mask_stride(columns)));
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) finite &= magnitude_bits(w[i]) < kInfinity;
  if (keep == 0 || !finite) return finite;
  Threshold t = threshold_of(w, n, keep);
  for (int64_t r = 0; r < rows; ++r) {
    uint8_t* row = mask + r * mask_stride(columns);
    for (int64_t c = 0; c < columns; ++c) {
      const uint32_t m = magnitude_bits(w[r * columns + c]);
      const bool stays = m > t.bits || (m == t.bits && t.ties-- > 0);
      if (stays) row[c / 8] = static_cast<uint8_t>(row[c / 8] | 1u << (c % 8));
    }
  }
  return true;
}

}  // namespace

bool select_mask(const Pattern& pattern, const float* weight, int64_t rows, int64_t columns,
                 uint8_t* mask) {
  if (rows * columns == 0) return true;
  if (pattern.unstructured())
    return select_unstructured(weight, rows, columns, pattern.kept(rows * columns), mask);
  TERSE_CHECK(columns % pattern.of == 0, "{} and {} columns", to_string(pattern), columns);
  bool finite = true;
  for (int64_t r = 0; r < rows; ++r) {
    const float* w = weight + r * columns;
    uint8_t* bits = mask + r * mask_stride(columns);
    finite &= TERSE_DISPATCH(select_row(w, columns, pattern.keep, pattern.of, bits));
  }
  return finite;
}

void blend_rows(const MaskedIn& in, const uint8_t* mask, float beta, int64_t rows, int64_t columns,
                const MaskedOut& out) {
  TERSE_CHECK((in.f32 == nullptr) != (in.bf16 == nullptr) || rows * columns == 0, "one source");
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * columns;
    TERSE_DISPATCH(blend_row(in.f32 ? in.f32 + at : nullptr, in.bf16 ? in.bf16 + at : nullptr,
                             mask + r * mask_stride(columns), beta, columns,
                             out.f32 ? out.f32 + at : nullptr, out.bf16 ? out.bf16 + at : nullptr));
  }
}

void add_pruned_rows(const float* in, const uint8_t* mask, float factor, int64_t rows,
                     int64_t columns, float* out) {
  for (int64_t r = 0; r < rows; ++r)
    TERSE_DISPATCH(add_pruned_row(in + r * columns, mask + r * mask_stride(columns), factor,
                                  columns, out + r * columns));
}

int64_t count_kept(const uint8_t* mask, int64_t rows, int64_t columns) {
  int64_t count = 0;
  for (int64_t i = 0; i < rows * mask_stride(columns); ++i) count += std::popcount(mask[i]);
  return count;
}

int64_t count_different(const uint8_t* a, const uint8_t* b, int64_t rows, int64_t columns) {
  int64_t count = 0;
  for (int64_t i = 0; i < rows * mask_stride(columns); ++i)
    count += std::popcount(static_cast<uint8_t>(a[i] ^ b[i]));
  return count;
}

}  // namespace terse
