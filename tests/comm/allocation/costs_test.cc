// Costs by bytes and by time, comparison with the uniform choice, and the warm factor.
#include "comm/allocation/costs.h"

#include <gtest/gtest.h>

#include <cmath>

#include "comm/allocation/shared_random.h"
#include "comm/allocation/warm_state.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

TEST(Costs, TimeIsTheExposedTransferAndAllOfTheCodec) {
  const TimeModel link{.latency = 1e-3, .bytes_per_second = 1e6};
  EXPECT_DOUBLE_EQ(segment_seconds(link, 5000, 100, 0, 1), 6e-3);
  EXPECT_DOUBLE_EQ(segment_seconds(link, 5000, 100, 1e-6, 0.5), 3e-3 + 1e-4);
  EXPECT_DOUBLE_EQ(segment_seconds(link, 5000, 100, 1e-6, 0), 1e-4);
  EXPECT_THROW(segment_seconds({}, 1, 1, 0, 1), std::logic_error);
  EXPECT_THROW(segment_seconds(link, 1, 1, 0, 1.5), std::logic_error);
}

AllocationSegment ranks(double dense_cost, const std::function<double(double)>& cost) {
  const std::vector<double> parameters{1, 2, 4}, errors{9, 6, 3};
  return {make_choices(parameters, errors, cost, 0, dense_cost), 1, -1};
}

TEST(Costs, ChoicesEndWithDense) {
  const AllocationSegment s = ranks(100, [](double r) { return 10 * r; });
  ASSERT_EQ(s.choices.size(), 4u);
  EXPECT_EQ(s.choices[2].parameter, 4);
  EXPECT_EQ(s.choices[2].cost, 40);
  EXPECT_EQ(s.choices[2].error, 3);
  EXPECT_EQ(s.choices[3].error, 0);
  EXPECT_EQ(s.choices[3].cost, 100);
}

// By bytes, the two segments are alike. By time, the hidden one is sent dense, which frees budget
// for the one that is waited for.
TEST(Costs, ByTimeAHiddenSegmentIsSentDense) {
  const auto bytes = [](double r) { return 1e4 * r; };
  const std::vector<AllocationSegment> by_bytes{ranks(2e5, bytes), ranks(2e5, bytes)};
  const auto uniform = solve_allocation(by_bytes);
  EXPECT_EQ(uniform.cost, 4e4);

  const TimeModel link{.latency = 0, .bytes_per_second = 1e6};
  const auto exposed = [&](double w) {
    return ranks(segment_seconds(link, 2e5, 1000, 0, w),
                 [&, w](double r) { return segment_seconds(link, bytes(r), 1000, 1e-6, w); });
  };
  const std::vector<AllocationSegment> by_time{exposed(1), exposed(0)};
  EXPECT_EQ(solve_allocation(by_time).choice, (std::vector<int64_t>{0, 3}));
}

TEST(Costs, ComparisonCountsBytesWhateverTheCostsAre) {
  const std::vector<AllocationSegment> segments{ranks(1, [](double) { return 0.5; }),
                                                ranks(1, [](double) { return 0.5; })};
  const std::vector<std::vector<double>> bytes(2, {10, 20, 40, 100});
  const UniformComparison c = compare_with_uniform(segments, bytes, std::vector<int64_t>{0, 2});
  EXPECT_EQ(c.uniform_bytes, 40);
  EXPECT_EQ(c.bytes, 50);
  EXPECT_EQ(c.ratio, 0.8);
  EXPECT_EQ(c.uniform_error, 12);
  EXPECT_EQ(c.error, 12);
  EXPECT_EQ(c.uniform_error2, 72);
  EXPECT_EQ(c.error2, 90);
  EXPECT_EQ(compare_with_uniform({}, {}, {}).ratio, 1);
}

TEST(WarmFactor, KeepsCommonColumnsAndDrawsTheRestAlike) {
  const auto from = values(50 * 4, 1);
  const WarmDraw draw{.seed = 7, .step = 100, .layer = 3};
  const auto resized = [&](int64_t rank, const WarmDraw& d) {
    std::vector<float> to(static_cast<size_t>(50 * rank));
    resize_warm_factor(from, 50, 4, rank, d, to);
    return to;
  };
  const auto narrow = resized(2, draw), same = resized(4, draw), wide = resized(6, draw);
  EXPECT_EQ(same, from);
  for (size_t row = 0; row < 50; ++row) {
    for (size_t r = 0; r < 2; ++r) ASSERT_EQ(narrow[row * 2 + r], from[row * 4 + r]);
    for (size_t r = 0; r < 4; ++r) ASSERT_EQ(wide[row * 6 + r], from[row * 4 + r]);
  }
  EXPECT_EQ(patterns(resized(6, draw)), patterns(wide));
  // Another seed, step or layer draws something else.
  EXPECT_NE(resized(6, {.seed = 8, .step = 100, .layer = 3}), wide);
  EXPECT_NE(resized(6, {.seed = 7, .step = 101, .layer = 3}), wide);
  EXPECT_NE(resized(6, {.seed = 7, .step = 100, .layer = 4}), wide);
  // A column drawn at a rank is the same column when the rank grows further.
  const auto wider = resized(7, draw);
  for (size_t row = 0; row < 50; ++row) ASSERT_EQ(wider[row * 7 + 5], wide[row * 6 + 5]);
  std::vector<float> none;
  EXPECT_THROW(resize_warm_factor(from, 50, 4, 5, draw, none), std::logic_error);
}

TEST(SharedNormal, HasMeanZeroVarianceOneAndKnownBits) {
  double sum = 0, squares = 0, product = 0;
  constexpr int64_t kCount = 200000;
  float last = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const float v = shared_normal(1, i);
    sum += v, squares += static_cast<double>(v) * v, product += static_cast<double>(v) * last;
    last = v;
  }
  // Five standard deviations of each estimate.
  const double sigma = 5 / std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(sum / kCount, 0, sigma);
  EXPECT_NEAR(squares / kCount, 1, sigma * 1.3);
  EXPECT_NEAR(product / kCount, 0, sigma);
  // From the same formula in Python's integers: a change would give two versions of terse different
  // factors.
  EXPECT_EQ(std::bit_cast<uint32_t>(shared_normal(1, 0)), 0x3f1ac2eeu);
  EXPECT_EQ(std::bit_cast<uint32_t>(shared_normal(1, 1)), 0xbe672cb6u);
  EXPECT_EQ(std::bit_cast<uint32_t>(shared_normal(12345678901234567890u, 77)), 0x3d9abf77u);
}

}  // namespace
}  // namespace terse::testing
