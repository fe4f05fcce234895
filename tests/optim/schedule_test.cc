// Against torch.optim.lr_scheduler of torch 2.11 (golden/schedule.py), and closed forms.
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include "tests/optim/schedule_golden.h"

namespace terse {
namespace {

TEST(Schedule, OneCycleEqualsTorch) {
  OptimOptions options;
  options.schedule = "onecycle";
  options.lr = 1.2e-3;
  options.warmup = 10;
  for (int64_t step = 1; step <= 100; ++step)
    // fp64 on both sides; the order of operations differs.
    EXPECT_NEAR(learning_rate(options, step, 100), kOneCycle[step - 1], 1e-17) << step;
}

TEST(Schedule, CosineEqualsTorchAfterItsWarmUp) {
  OptimOptions options;
  options.lr = 3e-4;
  options.warmup = 20;
  options.min_lr = 0.1;
  for (int64_t step = 20; step <= 100; ++step)
    // torch's recursion gathers rounding.
    EXPECT_NEAR(learning_rate(options, step, 100), kCosine[step - 20], 1e-16) << step;
  for (int64_t step = 1; step <= 20; ++step)
    EXPECT_DOUBLE_EQ(learning_rate(options, step, 100), 3e-4 * static_cast<double>(step) / 20);
}

TEST(Schedule, EdgesAreFinite) {
  OptimOptions options;
  for (const char* name : {"cosine", "onecycle", "constant"})
    for (int64_t warmup : {-1, 0, 1, 2, 5, 9})
      for (int64_t total : {1, 2, 3, 5}) {
        options.schedule = name, options.warmup = warmup;
        for (int64_t step = 1; step <= total + 2; ++step) {
          const double lr = learning_rate(options, step, total);
          EXPECT_TRUE(lr >= 0 && lr <= options.lr) << name << warmup << total << step << " " << lr;
        }
      }
}

TEST(Schedule, EndsAtTheLeastRateAndKeepsIt) {
  OptimOptions options;
  options.min_lr = 0.25;
  for (const char* name : {"cosine", "onecycle"}) {
    options.schedule = name;
    EXPECT_NEAR(learning_rate(options, 50, 50), 0.25 * options.lr, 1e-18);
    EXPECT_EQ(learning_rate(options, 51, 50), learning_rate(options, 50, 50));
  }
}

}  // namespace
}  // namespace terse
