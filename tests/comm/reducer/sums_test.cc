#include "comm/sums.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/isa.h"

namespace terse {
namespace {

TEST(Sums, EqualAtensInFp64) {
  for (int64_t n : {0, 1, 15, 16, 17, 16383, 16384, 16385, 200'001}) {
    const at::Tensor x = at::randn({n});
    const auto exact = x.to(at::kDouble).square().sum().item<double>();
    // fp64 sums of 2e5 terms in another order: far below 1e-12.
    EXPECT_NEAR(sum_of_squares(x), exact, 1e-12 * exact);
    EXPECT_NEAR(plain_sum(x), at::sum(x, at::kDouble).item<double>(), 1e-9);
  }
}

TEST(Sums, SameBitsForEveryThreadCountAndInstructionSet) {
  const at::Tensor x = at::randn({300'007});
  const double expected = sum_of_squares(x);
  const Isa best = isa();
  const int threads = omp_get_max_threads();
  for (Isa set : {Isa::scalar, Isa::avx2, Isa::avx512})
    for (int count : {1, 2, 3, 5}) {
      if (!isa_supported(set)) continue;
      force_isa(set);
      omp_set_num_threads(count);
      EXPECT_EQ(sum_of_squares(x), expected) << isa_name(set) << count;
    }
  force_isa(best);
  omp_set_num_threads(threads);
}

TEST(Sums, NotFiniteExactlyIfAnElementIsNot) {
  at::Tensor x = at::full({70'000}, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(sum_of_squares(x)));
  for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                    std::numeric_limits<float>::quiet_NaN()})
    for (int64_t at : {0, 15, 16384, 69'999}) {
      at::Tensor y = x.clone();
      y[at] = bad;
      EXPECT_FALSE(std::isfinite(sum_of_squares(y))) << bad << at;
    }
}

}  // namespace
}  // namespace terse
