// Words of 64 elements, for the kernels of codecs with a scale per group: which of a word's
// elements count, and how those of a word that is not whole are read and written. Only for files
// compiled by terse_kernels().
#pragma once
#include <cstdint>

#include "comm/codec/kernels/arrays.h"
#include "comm/codec/kernels/simd16.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int64_t kWord = 64;
constexpr uint64_t kAll = ~uint64_t{0};

// Which elements of word w belong to [begin, end).
inline uint64_t range_mask(int64_t w, int64_t begin, int64_t end) {
  uint64_t m = kAll;
  if (begin > w * kWord) m &= kAll << (begin - w * kWord);
  if (end < (w + 1) * kWord) m &= kAll >> ((w + 1) * kWord - end);
  return m;
}

inline bool aligned(const float* p) {
  return reinterpret_cast<uintptr_t>(p) % 64 == 0;
}

// x of one whole word.
template <bool kResidual>
inline F16 load_x(const float* message, const float* residual, int64_t i) {
  const F16 m = load(message + i);
  if constexpr (kResidual) return add(m, load(residual + i));
  return m;
}

// x of a word that is not whole; elements outside `m` read as 0 and are not touched.
inline void gather_x(const CodecArrays& in, int64_t first, uint64_t m, float* x) {
  for (int64_t i = 0; i < kWord; ++i) {
    x[i] = 0;
    if ((m >> i & 1) == 0) continue;
    x[i] = in.message[first + i];
    if (in.residual != nullptr) x[i] += in.residual[first + i];
  }
}

// The shadow of a word that is not whole: `rest` where live, 0 where dead, untouched outside.
inline void scatter_rest(const CodecArrays& in, int64_t first, uint64_t inside, uint64_t m,
                         const float* rest) {
  if (in.shadow == nullptr) return;
  for (int64_t i = 0; i < kWord; ++i)
    if ((inside >> i & 1) != 0) in.shadow[first + i] = (m >> i & 1) != 0 ? rest[i] : 0.0f;
}

}  // namespace
}  // namespace terse::TERSE_ISA
