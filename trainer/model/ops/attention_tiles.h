// What forward and backward of tiled attention share. For files compiled by terse_bf16_kernels.
#pragma once
#include <cstring>

#include "base/product/product.h"
#include "base/product/tile.h"
#include "trainer/model/ops/tiled_attention.h"
#include "trainer/model/ops/vec16.h"
#include "trainer/model/ops/vectors_bf16.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int64_t kBlock = 64;  // queries, and keys, of a tile

// Hands out aligned pieces of a call's scratch memory.
struct Scratch {
  uint32_t* next;
  template <typename T>
  T* take(int64_t count) {
    T* here = reinterpret_cast<T*>(next);
    next += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 16;
    return here;
  }
};

// Of 16 lanes, the first `visible`.
TERSE_INLINE __mmask16 first_lanes(int64_t visible) {
  return visible >= 16  ? static_cast<__mmask16>(0xffff)
         : visible <= 0 ? static_cast<__mmask16>(0)
                        : static_cast<__mmask16>((1 << visible) - 1);
}

template <typename T>
TERSE_INLINE void rotate_row(const T* in, const float* cosine, const float* sine, float direction,
                             int64_t half, uint16_t* out) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const F16 a = load(in + i), b = load(in + half + i);
    const F16 c = load(cosine + i), s = load(sine + i) * direction;
    store(out + i, a * c - b * s);
    store(out + half + i, b * c + a * s);
  }
}

// One head's rows, dense [padded, head], zeros after the last.
inline void gather(const Sequence& s, const uint16_t* from, int64_t stride, bool rotated,
                   uint16_t* to) {
  const int64_t half = s.head / 2;
  for (int64_t t = 0; t < s.length; ++t, from += stride, to += s.head) {
    if (rotated)
      rotate_row(from, s.cosine + t * half, s.sine + t * half, 1.0f, half, to);
    else
      std::memcpy(to, from, static_cast<size_t>(s.head) * sizeof *to);
  }
  std::memset(to, 0, static_cast<size_t>((s.padded() - s.length) * s.head) * sizeof *to);
}

inline Left rows_of(const uint16_t* dense, int64_t row, int64_t columns) {
  return {reinterpret_cast<const uint32_t*>(dense + row * columns), columns / 2, 1};
}

// to [rows, .. 64 columns] (+)= a b in fp32; `b` is one panel.
template <bool kAdd>
void fp32_tiles(const Left& a, int64_t rows, const uint32_t* b, int64_t pairs, float* to,
                int64_t stride) {
  tiles(
      a, rows, b, pairs, [&](int64_t row, const Sums& sums) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
          float* at = to + row * stride + 16 * j;
          _mm512_storeu_ps(at, kAdd ? _mm512_add_ps(_mm512_loadu_ps(at), sums[j]) : sums[j]);
        }
      });
}

}  // namespace
}  // namespace terse::TERSE_ISA
