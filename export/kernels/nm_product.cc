// Sixty-four tokens side by side, one multiply-add a kept element and vector of tokens.
#include <cstring>

#include "export/kernels/declarations.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int kTokens = 64;

// As wide as a register, so that all sums stay in registers: one of base/vec.h's sixteen lanes
// would go through memory on AVX2.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kVectors = kTokens / kLanes;
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

inline Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, Vector v) {
  std::memcpy(p, &v, sizeof v);
}

// sum + a x, rounded once in every lane whatever the instruction set; one instruction where there
// is one.
inline Vector fused(float a, Vector x, Vector sum) {
  for (int lane = 0; lane < kLanes; ++lane) sum[lane] = __builtin_fmaf(a, x[lane], sum[lane]);
  return sum;
}

}  // namespace

// sums[64] += sum over the kept of x[(group, position)][64], x packed [columns][64].
void nm_product(const float* values, const uint16_t* positions, int64_t groups, int64_t keep,
                int64_t of, const float* x, float* sums) {
  Vector sum[kVectors];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) sum[v] = load(sums + v * kLanes);
  for (int64_t g = 0; g < groups; ++g, x += of * kTokens)
    for (int64_t k = 0; k < keep; ++k) {
      const float value = *values++;
      const float* at = x + *positions++ * int64_t{kTokens};
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[v] = fused(value, load(at + v * kLanes), sum[v]);
    }
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) store(sums + v * kLanes, sum[v]);
}

}  // namespace terse::TERSE_ISA
