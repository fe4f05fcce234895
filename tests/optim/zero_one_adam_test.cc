// 0/1 Adam step by step on one rank; between ranks: zero_one_ranks.cc, against DeepSpeed and its
// definition: tests/trainer/lab/zero_one_test.cc.
#include "optim/zero_one_adam.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "optim/adamw.h"
#include "optim/onebit_adam.h"
#include "tests/optim/flat.h"

namespace terse {
namespace {

constexpr double kLr = 1e-3;
const AdamOptions kOptions{.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1};
const std::vector<SegmentSpec> kSegments = {{"w", 20, 50, true}, {"norm", 1, 70, false}};
constexpr int64_t kElements = 1070;

std::shared_ptr<ZeroOneAdam> zero_one(const ZeroOneSchedule& schedule, double floor = 0.1,
                                      AdamOptions options = kOptions) {
  return std::make_shared<ZeroOneAdam>(options, schedule, floor);
}

// Local steps from the step after the freeze on.
ZeroOneSchedule local_after(int64_t freeze, int64_t local_steps = 4) {
  return {.freeze = freeze, .local_steps = local_steps, .total_steps = 1000, .decay = [](int64_t) {
            return 1e-9;
          }};
}

at::Tensor gradient(int64_t t) {
  return at::sin(at::arange(kElements) * 0.1 * t) + 0.1;
}

TEST(ZeroOneAdam, IsAdamWBitForBitWhileEveryStepRefreshes) {
  at::manual_seed(1);
  Flat ours(kSegments, zero_one({.freeze = 40, .refresh_doubling = 20}));
  Flat theirs(kSegments, std::make_shared<AdamW>(kOptions));
  theirs.bucket_value().copy_(ours.bucket_value());
  for (int64_t t = 1; t <= 21; ++t) {
    EXPECT_EQ(ours.next().phase, Phase::dense);
    for (Flat* f : {&ours, &theirs}) f->bucket_gradient().copy_(gradient(t)), f->step(t, kLr);
    ASSERT_TRUE(at::equal(ours.bucket_value(), theirs.bucket_value())) << t;
  }
  EXPECT_EQ(ours.next().phase, Phase::codec);
}

// With one refresh, a freeze there and meetings at every step it is 1-bit Adam, but for u being
// s m where that sends m: rounded once more.
TEST(ZeroOneAdam, IsOnebitAdamWithoutLocalSteps) {
  at::manual_seed(2);
  Flat ours(kSegments, zero_one({.freeze = 5, .local_steps = 1}));
  Flat theirs(kSegments, std::make_shared<OnebitAdam>(kOptions, FreezeRule::fixed(5), 0.1));
  theirs.bucket_value().copy_(ours.bucket_value());
  for (int64_t t = 1; t <= 40; ++t) {
    for (Flat* f : {&ours, &theirs}) f->bucket_gradient().copy_(gradient(t)), f->step(t, kLr);
    // An ulp of weights near 1 a step.
    ASSERT_TRUE(at::allclose(ours.bucket_value(), theirs.bucket_value(), 0, 40 * 1.2e-7)) << t;
  }
}

// With one rank and exact averages, meeting changes nothing: local steps are the same path.
TEST(ZeroOneAdam, LocalStepsOfOneRankAreItsStepsInAnyCase) {
  at::manual_seed(3);
  Flat meets(kSegments, zero_one(local_after(30, 1)));
  Flat local(kSegments, zero_one(local_after(30, 8)));
  local.bucket_value().copy_(meets.bucket_value());
  int64_t alone = 0;
  for (int64_t t = 1; t <= 70; ++t) {
    alone += local.next().phase == Phase::skip;
    for (Flat* f : {&meets, &local}) f->bucket_gradient().copy_(gradient(1)), f->step(t, kLr);
  }
  EXPECT_EQ(alone, 40 - 5);
  // The gradient is constant and the momentum within 0.9^30 = 4 % of it, so the mean momentum of an
  // interval, which a meeting takes for the momentum, lags by less than that: a lag falls by 0.9 a
  // step, so five intervals' sum to less than two steps of lr.
  EXPECT_TRUE(at::allclose(meets.bucket_value(), local.bucket_value(), 0, 2 * kLr));
  const double moved = (meets.bucket_value() - local.bucket_value()).abs().max().item<double>();
  EXPECT_GT(moved, 0);  // or nothing local has happened
}

// Weights of a meeting are the anchor's, moved by the answer alone: whatever this rank did locally
// leaves no trace, not even by rounding.
TEST(ZeroOneAdam, AMeetingDependsOnTheAnswerAlone) {
  at::manual_seed(4);
  std::vector<Flat> ranks;
  for (int r = 0; r < 2; ++r) ranks.emplace_back(kSegments, zero_one(local_after(3)));
  ranks[1].bucket_value().copy_(ranks[0].bucket_value());
  const auto own = [](int64_t t, size_t rank) {
    return gradient(t <= 3 ? t : t + 100 * static_cast<int64_t>(rank));
  };
  // Steps 4 and 8 are meetings.
  for (int64_t t = 1; t <= 8; ++t) {
    const at::Tensor answer = t == 4 || t == 8 ? at::randn({kElements}) * kLr : at::Tensor();
    for (size_t r = 0; r < 2; ++r)
      ranks[r].bucket_gradient().copy_(own(t, r)), ranks[r].step(t, kLr, answer);
    const bool apart = t >= 5 && t <= 7;
    EXPECT_EQ(at::equal(ranks[0].bucket_value(), ranks[1].bucket_value()), !apart) << t;
  }
}

// A coordinate that was never touched stays until a refresh sees it, and moves from then on.
TEST(ZeroOneAdam, ARefreshBringsTheDeadToLife) {
  AdamOptions options = kOptions;
  options.weight_decay = 0;
  at::manual_seed(5);
  Flat flat(kSegments, zero_one({.freeze = 100, .refresh_doubling = 2}, 0.1, options));
  const auto first = [&] { return flat.bucket_value().narrow(0, 0, 10).clone(); };
  const at::Tensor start = first();
  bool alive = false;
  for (int64_t t = 1; t <= 60; ++t) {
    const bool refresh = flat.next().phase == Phase::dense;
    flat.bucket_gradient().copy_(gradient(t));
    if (t < 30) flat.bucket_gradient().narrow(0, 0, 10).zero_();
    const at::Tensor before = first();
    // What one bit makes of it: no zeros.
    const at::Tensor message = flat.message(t, kLr);
    flat.step(t, kLr, refresh ? message : at::where(message >= 0, 1, -1) * message.abs().mean());
    alive = alive || (t >= 30 && refresh);
    EXPECT_EQ(at::equal(before, first()), !alive) << t;
    // Adam's bound on a step is lr (1 - b1) / sqrt(1 - b2) = lr; 1-bit scales and the floor of a
    // tenth add a factor of ten.
    EXPECT_LT((first() - before).abs().max().item<double>(), 11 * kLr) << t;
    const at::Tensor live = flat.optimizer().live(0);
    if (live.defined()) {
      EXPECT_EQ(live[0].item<int64_t>() & 1023, alive ? 1023 : 0) << t;
    }
  }
  EXPECT_TRUE(alive);
}

TEST(ZeroOneAdam, AMissingGradientLeavesTheMomentum) {
  AdamOptions options = kOptions;
  options.weight_decay = 0;
  at::manual_seed(6);
  Flat flat(kSegments, zero_one(local_after(3, 16), 0.1, options));
  for (int64_t t = 1; t <= 5; ++t) flat.bucket_gradient().copy_(gradient(1)), flat.step(t, kLr);
  // The step's own size again, but for the bias correction of the first moment.
  const at::Tensor before = flat.bucket_value().clone();
  flat.fill_gradient(std::numeric_limits<double>::quiet_NaN());
  flat.miss(6, kLr);
  const at::Tensor moved = flat.bucket_value() - before;
  EXPECT_TRUE(moved.isfinite().all().item<bool>());
  EXPECT_GT(moved.abs().min().item<double>(), 0);
  EXPECT_LT(moved.abs().max().item<double>(), 2 * kLr);
}

// Schedules end at a learning rate of 0, and the step sizes by whose sum a meeting divides its
// answer then add up to nothing.
TEST(ZeroOneAdam, ALearningRateOfZeroIsNoDivision) {
  for (const int64_t local_steps : {1, 4}) {
    SCOPED_TRACE(local_steps);
    at::manual_seed(7);
    Flat flat(kSegments, zero_one(local_after(3, local_steps)));
    const auto step = [&](int64_t t, double lr) {
      flat.bucket_gradient().copy_(gradient(t));
      flat.step(t, lr);
    };
    for (int64_t t = 1; t <= 4; ++t) step(t, kLr);
    const at::Tensor before = flat.bucket_value().clone();
    for (int64_t t = 5; t <= 8; ++t) {
      // Steps 4 and 8 are meetings in any case.
      EXPECT_EQ(flat.next().phase, local_steps == 1 || t == 8 ? Phase::codec : Phase::skip) << t;
      step(t, 0);
      EXPECT_TRUE(at::equal(before, flat.bucket_value())) << t;
    }
    for (int64_t t = 9; t <= 12; ++t) step(t, kLr);
    EXPECT_TRUE(flat.bucket_value().isfinite().all().item<bool>());
    EXPECT_FALSE(at::equal(before, flat.bucket_value()));
  }
}

TEST(ZeroOneAdam, SaveAndLoadInEachPhaseGoOnBitForBit) {
  const ZeroOneSchedule schedule = [] {
    ZeroOneSchedule s = local_after(12);
    s.refresh_doubling = 2;
    return s;
  }();
  // AdamW so far; before and after a refresh; at the freeze; after a meeting.
  for (const int64_t at : {2, 5, 6, 12, 16, 20}) {
    at::manual_seed(at);
    Flat one(kSegments, zero_one(schedule));
    for (int64_t t = 1; t <= at; ++t) one.bucket_gradient().copy_(gradient(t)), one.step(t, kLr);
    MemoryState state;
    one.optimizer().save(state);
    Flat two(kSegments, zero_one(schedule));
    two.bucket_value().copy_(one.bucket_value());
    two.optimizer().load(state);
    two.set_next(one.next());
    for (int64_t t = at + 1; t <= 28; ++t)
      for (Flat* f : {&one, &two}) f->bucket_gradient().copy_(gradient(t)), f->step(t, kLr);
    EXPECT_TRUE(at::equal(one.bucket_value(), two.bucket_value())) << at;
  }
}

TEST(ZeroOneAdam, CannotBeSavedBetweenMeetings) {
  Flat flat(kSegments, zero_one(local_after(3)));
  for (int64_t t = 1; t <= 5; ++t) flat.bucket_gradient().copy_(gradient(t)), flat.step(t, kLr);
  MemoryState state;
  EXPECT_THROW(flat.optimizer().save(state), Error);
}

}  // namespace
}  // namespace terse
