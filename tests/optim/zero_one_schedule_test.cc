// T_v and T_u against the paper's recurrences, by brute force.
#include "optim/zero_one_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "optim/options.h"
#include "optim/schedule.h"

namespace terse {
namespace {

TEST(ZeroOneSchedule, RefreshesFollowTheRecurrence) {
  for (const int64_t kappa : {1, 2, 3, 16}) {
    std::set<int64_t> refreshes;
    int64_t k = 1;
    for (int64_t j = 0; k <= 3000; ++j) {
      refreshes.insert(k);
      k += static_cast<int64_t>(
          std::pow(2.0, std::floor(static_cast<double>(j) / static_cast<double>(kappa))));
    }
    const ZeroOneSchedule s{.freeze = 2500, .refresh_doubling = kappa};
    int64_t count = 0;
    for (int64_t update = 1; update <= 3000; ++update) {
      const bool expected = update <= 2500 && refreshes.contains(update);
      ASSERT_EQ(s.refreshes(update), expected) << kappa << " " << update;
      count += expected;
      ASSERT_EQ(s.refreshes_until(update), count) << kappa << " " << update;
    }
  }
}

// [optim] freeze = 0; and the paper's rule on a cosine, halving by halving.
TEST(ZeroOneSchedule, IntervalsDoubleAsTheLearningRateHalves) {
  OptimOptions options;
  options.min_lr = 0;
  options.local_steps = 10;
  const int64_t total = 1000;
  const ZeroOneSchedule s = ZeroOneSchedule::from(options, total);
  EXPECT_EQ(s.freeze, 150);
  EXPECT_EQ(s.warmup, 100);
  std::set<int64_t> seen;
  for (int64_t step = 151; step < total; ++step) {
    int64_t expected = 1;
    double lr = learning_rate(options, step, total);
    while (lr <= options.lr / 2 * (1 + 1e-9)) {
      lr *= 2;
      expected = std::min<int64_t>(expected * 2, 8);
    }
    ASSERT_EQ(s.interval(step, step), expected) << step;
    seen.insert(expected);
  }
  EXPECT_EQ(seen, (std::set<int64_t>{1, 2, 4, 8}));
}

TEST(ZeroOneSchedule, IntervalsDoubleByTheNumberOfSteps) {
  const ZeroOneSchedule s{.freeze = 7, .local_steps = 8, .local_doubling = 5, .total_steps = 100};
  int64_t expected = 1;
  for (int64_t update = 8; update < 100; ++update) {
    if (update > 8 && (update - 8) % 5 == 0) expected = std::min<int64_t>(expected * 2, 8);
    ASSERT_EQ(s.interval(update, update), expected) << update;
  }
}

// However the run goes: no gap beyond H, a meeting at its end and in every step after that, one
// exchange a step before the freeze and in the warm-up.
TEST(ZeroOneSchedule, MeetsOftenEnough) {
  for (const int64_t most : {1, 2, 3, 7, 16})
    for (const int64_t doubling : {0, 1, 13})
      for (const char* shape : {"cosine", "onecycle", "constant"}) {
        OptimOptions options;
        options.schedule = shape;
        options.freeze = 5;
        options.warmup = 20;
        options.min_lr = 0.01;
        options.local_steps = most;
        options.local_doubling = doubling;
        const ZeroOneSchedule s = ZeroOneSchedule::from(options, 200);
        int64_t last = 5;
        for (int64_t step = 6; step <= 210; ++step) {
          const bool meets = s.meets(step, step - 2);  // two steps were skipped
          if (step <= 20 || step >= 200) {
            EXPECT_TRUE(meets) << step;
          }
          if (meets) last = step;
          ASSERT_LT(step - last, most) << shape << " " << step;
        }
      }
}

}  // namespace
}  // namespace terse
