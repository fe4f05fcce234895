#include "optim/freeze.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/state.h"
#include "optim/options.h"

namespace terse {
namespace {

// The first number of committed warm-up steps after which compression may begin.
int64_t first_due(FreezeRule rule, const std::function<double(int64_t)>& norm) {
  for (int64_t steps = 1; steps < 10'000; ++steps) {
    if (rule.due(steps)) return steps;
    rule.observe(norm(steps));
  }
  return -1;
}

TEST(FreezeRule, FixedIsExact) {
  EXPECT_EQ(first_due(FreezeRule::fixed(17), [](int64_t) { return 1.0; }), 17);
}

// Window 10. The variance halves every 10 steps until step 100, then stays: norm(t) / norm(t - 10)
// reaches 0.96 where 2^(-(100 - (t - 10)) / 10) >= 0.96, that is t >= 109.4: seen after step 110,
// which makes 111 the last dense step, one vote later.
TEST(FreezeRule, FindsThePlateau) {
  const auto norm = [](int64_t t) {
    return std::pow(0.5, static_cast<double>(std::min<int64_t>(t, 100)) / 10);
  };
  EXPECT_EQ(first_due(FreezeRule::automatic(0.9, 20, 1000), norm), 111);
}

TEST(FreezeRule, AGrowingVarianceHasNotSettled) {
  const auto norm = [](int64_t t) {
    return std::pow(2.0, static_cast<double>(std::min<int64_t>(t, 100)) / 10);
  };
  EXPECT_EQ(first_due(FreezeRule::automatic(0.9, 20, 1000), norm), 111);
}

TEST(FreezeRule, SaysTheRatioAndTheBound) {
  EXPECT_EQ(FreezeRule::fixed(17).reason(17), "[optim] freeze = 17");
  const auto observed = [](double last) {
    FreezeRule rule = FreezeRule::automatic(0.5, 3, 100);
    for (const double norm : {8.0, 7.0, last}) rule.observe(norm);
    return rule;
  };
  EXPECT_TRUE(observed(7.76).due(4));
  EXPECT_EQ(observed(7.76).reason(4),
            "||v|| is 0.9700 of that 2 steps before, settled between 0.96 and 1.0417");
  EXPECT_FALSE(observed(4).due(4));
  EXPECT_EQ(observed(4).reason(100),
            "100 dense steps at most; ||v|| is 0.5000 of that 2 steps before, settled between 0.96 "
            "and 1.0417");
  EXPECT_EQ(FreezeRule::automatic(0.5, 3, 100).reason(100),
            "100 dense steps at most; a window of 2 steps is not full");
}

TEST(FreezeRule, NeverBeforeTheWarmUpEnds) {
  EXPECT_EQ(first_due(FreezeRule::automatic(0.9, 200, 1000), [](int64_t) { return 1.0; }), 200);
}

TEST(FreezeRule, LimitsHold) {
  const auto falling = [](int64_t t) { return std::pow(0.5, static_cast<double>(t)); };
  EXPECT_EQ(first_due(FreezeRule::automatic(0.9, 20, 300), falling), 300);
  // beta2 = 0.9999: the window never fills within 300 steps.
  EXPECT_EQ(first_due(FreezeRule::automatic(0.9999, 20, 300), falling), 300);
}

TEST(FreezeRule, FromOptionsTakesPartsOfTheRun) {
  OptimOptions options;
  options.warmup = 10;
  const auto steady = [](int64_t) { return 1.0; };
  EXPECT_EQ(first_due(FreezeRule::from(options, 1000), steady), 150);
  options.warmup = 400;  // beyond 25 %: the warm-up of the learning rate wins
  EXPECT_EQ(first_due(FreezeRule::from(options, 1000), steady), 400);
  options.freeze = 33;
  EXPECT_EQ(first_due(FreezeRule::from(options, 1000), steady), 33);
}

TEST(FreezeRule, SavedRingGoesOn) {
  const auto norm = [](int64_t t) {
    return std::pow(0.5, static_cast<double>(std::min<int64_t>(t, 100)) / 10);
  };
  FreezeRule one = FreezeRule::automatic(0.9, 20, 1000);
  for (int64_t t = 1; t <= 57; ++t) one.observe(norm(t));
  MemoryState state;
  one.save(state);
  FreezeRule two = FreezeRule::automatic(0.9, 20, 1000);
  two.load(state);
  int64_t due = -1;
  for (int64_t steps = 58; due < 0; ++steps) {
    if (two.due(steps)) due = steps;
    two.observe(norm(steps));
  }
  EXPECT_EQ(due, 111);
}

}  // namespace
}  // namespace terse
