// Costs by bytes and by time, and comparison with the uniform choice.
#include "comm/allocation/costs.h"

#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace terse::testing
