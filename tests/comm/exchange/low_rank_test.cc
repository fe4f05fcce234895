// What PowerSGD draws and keeps alike on every rank.
#include "comm/low_rank.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "comm/shared_random.h"

namespace terse {
namespace {

constexpr int64_t kColumns = 50;

std::vector<float> resized(const std::vector<float>& from, int64_t rank, uint64_t seed) {
  std::vector<float> to(static_cast<size_t>(kColumns * rank), 77.0f);
  resize_factor(from, kColumns, seed, to);
  return to;
}

TEST(LowRank, AFactorKeepsWhatItHasLearnedAndDrawsTheRestAlike) {
  std::vector<float> from(kColumns * 4);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i) + 2;
  EXPECT_EQ(resized(from, 4, 7), from);
  EXPECT_EQ(resized(from, 2, 7), std::vector<float>(from.begin(), from.begin() + 2 * kColumns));
  const auto wide = resized(from, 6, 7);
  EXPECT_EQ(std::vector<float>(wide.begin(), wide.begin() + 4 * kColumns), from);
  for (size_t k = from.size(); k < wide.size(); ++k) {
    EXPECT_EQ(wide[k], shared_uniform(7, k)) << k;
    EXPECT_LT(std::abs(wide[k]), 1.0f) << k;
  }
  EXPECT_EQ(resized(from, 6, 7), wide);
  EXPECT_NE(resized(from, 6, 8), wide);
  EXPECT_THROW(resize_factor(std::vector<float>(3), kColumns, 1, from), std::logic_error);
}

TEST(LowRank, SeedsDependOnNameAndNumbers) {
  const uint64_t seed = seed_of("a", 1, 2);
  EXPECT_EQ(seed_of("a", 1, 2), seed);
  EXPECT_NE(seed_of("b", 1, 2), seed);
  EXPECT_NE(seed_of("a", 2, 1), seed);
  EXPECT_NE(seed_of("a", 1, 3), seed);
}

TEST(LowRank, SharedNumbersAreUniformAndHaveKnownBits) {
  double sum = 0, squares = 0, product = 0;
  constexpr int64_t kCount = 200000;
  float last = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const float v = shared_uniform(1, i);
    sum += v, squares += static_cast<double>(v) * v, product += static_cast<double>(v) * last;
    last = v;
  }
  // Five standard deviations of each estimate: the variance is 1/3, that of squares 4/45.
  const double sigma = 5 / std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(sum / kCount, 0, sigma * std::sqrt(1.0 / 3));
  EXPECT_NEAR(squares / kCount, 1.0 / 3, sigma * std::sqrt(4.0 / 45));
  EXPECT_NEAR(product / kCount, 0, sigma / 3);
  // splitmix64's first output for the state 0, from its authors' C code.
  EXPECT_EQ(scatter(0), 0xe220a8397b1dcdafu);
  // From the same formula in Python's integers: a change would give two versions of terse different
  // factors.
  EXPECT_EQ(std::bit_cast<uint32_t>(shared_uniform(1, 0)), 0x3e08516cu);
  EXPECT_EQ(std::bit_cast<uint32_t>(shared_uniform(1, 1)), 0x3e3ac1acu);
  EXPECT_EQ(std::bit_cast<uint32_t>(shared_uniform(12345678901234567890u, 77)), 0xbf1cb185u);
}

}  // namespace
}  // namespace terse
