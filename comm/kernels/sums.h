// One block of comm/sums.h: kSumBlock elements at most, 16 lanes in fp64. Torch-free.
#pragma once
#include <cstdint>

namespace terse {

inline constexpr int64_t kSumBlock = 16384;

#define TERSE_DECLARE_SUMS(isa)                               \
  namespace isa {                                             \
  double block_sum_of_squares(const float* x, int64_t count); \
  double block_sum(const float* x, int64_t count);            \
  }
TERSE_DECLARE_SUMS(scalar)
TERSE_DECLARE_SUMS(avx2)
TERSE_DECLARE_SUMS(avx512)
#undef TERSE_DECLARE_SUMS

}  // namespace terse
