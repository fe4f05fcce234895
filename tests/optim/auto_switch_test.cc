// STEP's AutoSwitch: the rule on made-up sequences, and inside AdamW against the definition of Z.
#include "optim/auto_switch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "optim/adamw.h"
#include "optim/options.h"
#include "tests/optim/flat.h"

namespace terse {
namespace {

// The number of updates after which it is due.
int64_t first_due(AutoSwitch rule, const std::function<double(int64_t)>& change) {
  for (int64_t t = 1; t < 10'000; ++t) {
    rule.observe(change(t));
    if (rule.due()) return t;
  }
  return -1;
}

// Window 10, eps 1e-8. Changes are 1e-7 up to update 50, then 1e-9: the mean of the last ten is
// (10 - k) 1e-8 + k 1e-10, below eps only when all ten are small.
TEST(AutoSwitch, WaitsForTheMeanOfAWindow) {
  const auto change = [](int64_t t) { return t <= 50 ? 1e-7 : 1e-9; };
  EXPECT_EQ(first_due(AutoSwitch(0.9, 1e-8, 5, 1000), change), 60);
}

TEST(AutoSwitch, LimitsHold) {
  const auto quiet = [](int64_t) { return 0.0; };
  const auto loud = [](int64_t) { return 1.0; };
  EXPECT_EQ(first_due(AutoSwitch(0.9, 1e-8, 40, 1000), quiet), 40);
  EXPECT_EQ(first_due(AutoSwitch(0.9, 1e-8, 5, 1000), quiet), 10);  // a window
  EXPECT_EQ(first_due(AutoSwitch(0.9, 1e-8, 5, 70), loud), 70);
  EXPECT_EQ(first_due(AutoSwitch(0.9999, 1e-8, 5, 70), loud), 70);  // a window of 10,000
}

TEST(AutoSwitch, FromOptionsTakesPartsOfTheRun) {
  OptimOptions options;
  options.warmup = 10;
  const auto quiet = [](int64_t) { return 0.0; };
  const auto loud = [](int64_t) { return 1.0; };
  EXPECT_EQ(first_due(AutoSwitch::from(options, 1000), quiet), 100);
  EXPECT_EQ(first_due(AutoSwitch::from(options, 1000), loud), 500);
  options.warmup = 700;
  EXPECT_EQ(first_due(AutoSwitch::from(options, 1000), quiet), 700);
}

TEST(AutoSwitch, SaysTheMeanAndTheBound) {
  AutoSwitch rule(0.5, 1e-8, 1, 4);
  rule.observe(3e-9);
  EXPECT_EQ(rule.reason(), "4 updates at most; a window of 2 updates is not full");
  rule.observe(5e-9);
  EXPECT_TRUE(rule.due());
  EXPECT_EQ(rule.reason(),
            "the variance changed by 4e-09 an update on the mean of 2, eps is 1e-08");
}

// AdamW with the rule, against Z_t = mean |v_t - v_{t-1}| in fp64 from stored variances, and the
// update with the variance kept. Gradients fade, v by a fifth a step: Z passes the bound at about
// step 34.
class SwitchRun {
 public:
  explicit SwitchRun(AutoSwitch rule)
      : flat_({{"a", 11, 7, true}, {"b", 1, 5, false}},
              std::make_shared<AdamW>(options(), Phase::dense, std::move(rule))) {}
  static AdamOptions options() { return {.beta1 = 0.9, .beta2 = 0.8, .weight_decay = 0.0}; }
  static at::Tensor gradient(int64_t t) {
    at::manual_seed(static_cast<uint64_t>(t));
    return at::randn({82}) * std::exp(-0.5 * static_cast<double>(t));
  }
  void step(int64_t t) {
    flat_.bucket_gradient().copy_(gradient(t));
    flat_.step(t, 1e-3);
  }
  Flat& flat() { return flat_; }
  int64_t frozen() { return flat_.optimizer().variance_freeze().step; }

 private:
  Flat flat_;
};

TEST(AutoSwitch, AdamWSwitchesWhereTheDefinitionSays) {
  constexpr int64_t kSteps = 60;
  SwitchRun run(AutoSwitch(0.8, 1e-4, 2, 50));
  at::Tensor p = run.flat().bucket_value().to(at::kDouble);
  at::Tensor m = at::zeros_like(p), v = at::zeros_like(p), root;
  std::vector<double> changes;
  int64_t expected = -1;
  for (int64_t t = 1; t <= kSteps; ++t) {
    const at::Tensor g = SwitchRun::gradient(t).to(at::kDouble);
    m = 0.9 * m + 0.1 * g;
    if (expected < 0) {
      const at::Tensor before = v;
      v = 0.8 * v + 0.2 * g.square();
      root = (v / (1 - std::pow(0.8, t))).sqrt() + 1e-8;
      changes.push_back((v - before).abs().mean().item<double>());
      const size_t window = std::min<size_t>(5, changes.size());
      const double mean =
          std::accumulate(changes.end() - static_cast<int64_t>(window), changes.end(), 0.0) / 5;
      if (window == 5 && mean < 1e-4) expected = t;
    }
    p = p - 1e-3 * (m / (1 - std::pow(0.9, t))) / root;
    run.step(t);
    EXPECT_EQ(run.frozen(), expected) << t;
  }
  EXPECT_GT(expected, 10);
  EXPECT_LT(expected, 50);
  // fp32 against fp64 over 60 updates.
  EXPECT_TRUE(at::allclose(run.flat().bucket_value().to(at::kDouble), p, 1e-5, 1e-5));
}

// Before the switch, at it, and after it.
TEST(AutoSwitch, SaveAndLoadGoOnBitForBit) {
  for (const int64_t at : {int64_t{3}, int64_t{16}, int64_t{17}, int64_t{18}, int64_t{30}}) {
    const AutoSwitch rule(0.8, 1e-8, 2, 17);
    SwitchRun one(rule);
    for (int64_t t = 1; t <= at; ++t) one.step(t);
    MemoryState state;
    one.flat().optimizer().save(state);
    SwitchRun two(rule);
    two.flat().optimizer().load(state);
    two.flat().bucket_value().copy_(one.flat().bucket_value());
    for (int64_t t = at + 1; t <= 40; ++t) one.step(t), two.step(t);
    EXPECT_EQ(one.frozen(), two.frozen()) << at;
    EXPECT_TRUE(at::equal(one.flat().bucket_value(), two.flat().bucket_value())) << at;
  }
}

TEST(AutoSwitch, AFixedNumberOfStepsIsReportedToo) {
  AdamOptions options = SwitchRun::options();
  options.variance_steps = 6;
  Flat flat({{"a", 11, 7, true}}, std::make_shared<AdamW>(options));
  for (int64_t t = 3; t <= 10; ++t) {  // two steps were skipped
    flat.fill_gradient(1);
    flat.step(t, 1e-3);
    EXPECT_EQ(flat.optimizer().variance_freeze().step, t < 8 ? -1 : 8);
  }
  EXPECT_EQ(flat.optimizer().variance_freeze().reason, "[optim] variance_steps = 6");
}

}  // namespace
}  // namespace terse
