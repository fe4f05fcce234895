#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "comm/sums.h"
#include "tests/support/gpu.h"

namespace terse {
namespace {

TEST(CudaSums, EqualTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  for (const int64_t n : {0, 1, 15, 16, 17, 4095, 4096, 4097, 16383, 16384, 16385, 1'200'001}) {
    const at::Tensor x = at::randn({n});
    EXPECT_EQ(sum_of_squares(x), sum_of_squares(x.to(testing::kGpu))) << n;
    EXPECT_EQ(plain_sum(x), plain_sum(x.to(testing::kGpu))) << n;
  }
}

TEST(CudaSums, NotFiniteExactlyIfAnElementIsNot) {
  TERSE_NEEDS_GPUS(1);
  const at::Tensor x = at::full({70'000}, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(sum_of_squares(x.to(testing::kGpu))));
  for (const int64_t at : {0, 4097, 69'999}) {
    at::Tensor y = x.clone();
    y[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(sum_of_squares(y.to(testing::kGpu)))) << at;
  }
}

}  // namespace
}  // namespace terse
