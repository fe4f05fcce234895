// 1-bit Adam, step by step. Each test is one thing that DeepSpeed's implementation gets wrong.
#include "optim/onebit_adam.h"

#include <gtest/gtest.h>

#include <cmath>

#include "optim/adamw.h"
#include "tests/optim/flat.h"

namespace terse {
namespace {

constexpr double kLr = 1e-3;
const AdamOptions kOptions{.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0};
const std::vector<SegmentSpec> kSegments = {{"w", 20, 50, true}};

std::shared_ptr<OnebitAdam> onebit(int64_t freeze, double floor = 0,
                                   AdamOptions options = kOptions) {
  return std::make_shared<OnebitAdam>(options, FreezeRule::fixed(freeze), floor);
}

at::Tensor moved(Flat& flat, int64_t step, at::Tensor answer = {}) {
  const at::Tensor before = flat.bucket_value().clone();
  flat.step(step, kLr, answer);
  return flat.bucket_value() - before;
}

TEST(OnebitAdam, WarmUpIsAdamWBitForBit) {
  AdamOptions options = kOptions;
  options.weight_decay = 0.1;
  at::manual_seed(1);
  Flat ours(kSegments, onebit(20, 0.1, options));
  Flat theirs(kSegments, std::make_shared<AdamW>(options));
  theirs.bucket_value().copy_(ours.bucket_value());
  for (int64_t t = 1; t <= 20; ++t) {
    ours.bucket_gradient().normal_();
    theirs.bucket_gradient().copy_(ours.bucket_gradient());
    ours.step(t, kLr), theirs.step(t, kLr);
    ASSERT_TRUE(at::equal(ours.bucket_value(), theirs.bucket_value())) << t;
  }
}

TEST(OnebitAdam, FreezesAfterExactlyThatManySteps) {
  for (int64_t freeze : {1, 2, 10}) {
    Flat flat(kSegments, onebit(freeze));
    for (int64_t t = 1; t <= freeze + 2; ++t) {
      EXPECT_EQ(flat.next().phase, t <= freeze ? Phase::dense : Phase::codec) << t;
      EXPECT_EQ(flat.next().residual_epoch, t <= freeze ? 0 : 1) << t;
      flat.bucket_gradient().normal_();
      flat.step(t, kLr);
    }
  }
}

// Steps that were skipped are no warm-up steps.
TEST(OnebitAdam, SkippedStepsDelayTheFreeze) {
  Flat flat(kSegments, onebit(2));
  flat.fill_gradient(1);
  EXPECT_EQ(flat.optimizer().next_plan(2).phase, Phase::dense);
  EXPECT_EQ(flat.optimizer().next_plan(9).phase, Phase::dense);  // nothing committed so far
  flat.step(9, kLr);
  EXPECT_EQ(flat.optimizer().next_plan(11).phase, Phase::codec);
}

// [exchange] codec = "auto" holds the freeze back; once frozen, there is no way back.
TEST(OnebitAdam, FreezesOnlyWhereCompressionIsAllowed) {
  Flat flat(kSegments, onebit(3));
  flat.optimizer().allow_compression(false);
  for (int64_t t = 1; t <= 6; ++t) {
    EXPECT_EQ(flat.next().phase, Phase::dense) << t;
    flat.bucket_gradient().normal_();
    flat.step(t, kLr);
  }
  flat.optimizer().allow_compression(true);
  flat.step(7, kLr);
  EXPECT_EQ(flat.next().phase, Phase::codec);
  flat.optimizer().allow_compression(false);
  flat.step(8, kLr);
  EXPECT_EQ(flat.next().phase, Phase::codec);
}

// With a constant gradient every corrected quantity is constant: |update| = lr at every step,
// before, at and after the freeze. Dropping a bias correction gives 3.16 lr; dividing the frozen
// variance by the moving correction creeps to 7 lr.
TEST(OnebitAdam, StepSizeNeitherJumpsNorCreeps) {
  for (int64_t freeze : {1, 3, 30}) {
    Flat flat(kSegments, onebit(freeze));
    for (int64_t t = 1; t <= 90; ++t) {
      flat.fill_gradient(0.25);
      // p is near 1: half an ulp is 6e-8, of lr 6e-5.
      EXPECT_TRUE(at::allclose(moved(flat, t), at::full({1000}, -kLr), 5e-4, 0)) << freeze << t;
    }
  }
}

TEST(OnebitAdam, FirstGradientMovesTheWeights) {
  Flat flat(kSegments, onebit(1));
  flat.fill_gradient(-1);
  EXPECT_GT(moved(flat, 1).min().item<float>(), 0.9 * kLr);
}

TEST(OnebitAdam, MessageIsTheMomentumOfTheScaledGradient) {
  Flat flat(kSegments, onebit(1));
  flat.bucket_gradient().normal_();
  const at::Tensor m = flat.bucket_gradient() * (1 - kOptions.beta1);
  flat.step(1, kLr);
  flat.bucket_gradient().normal_();
  const at::Tensor expected = 0.9 * m + 0.1 * 0.25 * flat.bucket_gradient();
  EXPECT_TRUE(at::allclose(flat.message(2, kLr, 0.25), expected, 1e-5, 1e-7));
  // Asking changes nothing: another scale can be asked for.
  EXPECT_TRUE(at::equal(flat.message(2, kLr, 0.25), flat.message(2, kLr, 0.25)));
}

TEST(OnebitAdam, TheAnswerBecomesTheMomentum) {
  Flat flat(kSegments, onebit(1));
  flat.bucket_gradient().normal_();
  flat.step(1, kLr);
  const at::Tensor answer = at::randn({1000});
  flat.step(2, kLr, answer);
  flat.fill_gradient(0);
  EXPECT_TRUE(at::allclose(flat.message(3, kLr), 0.9 * answer, 1e-6, 1e-7));
}

// Without dead coordinates the answer's memory becomes the momentum's; the caller gets the old one.
TEST(OnebitAdam, AnswerAndMomentumChangePlaces) {
  at::manual_seed(5);
  Flat masked(kSegments, onebit(1)), whole(kSegments, onebit(1));
  whole.bucket_value().copy_(masked.bucket_value());
  for (Flat* flat : {&masked, &whole}) flat->fill_gradient(0.5);
  masked.bucket_gradient().narrow(0, 990, 10).zero_();  // these die: the other way is taken
  for (Flat* flat : {&masked, &whole}) flat->step(1, kLr);
  ASSERT_TRUE(masked.optimizer().live(0).defined());
  ASSERT_FALSE(whole.optimizer().live(0).defined());
  for (int64_t t = 2; t < 6; ++t) {
    const at::Tensor answer = at::randn({1000});
    const at::Tensor given = answer.clone();
    masked.step(t, kLr, answer);
    whole.step(t, kLr, given);
    EXPECT_TRUE(at::equal(answer, given));
    EXPECT_TRUE(
        at::equal(masked.bucket_value().narrow(0, 0, 990), whole.bucket_value().narrow(0, 0, 990)))
        << t;
  }
}

// DeepSpeed 0.19.6: 7.6e4 a step.
TEST(OnebitAdam, NeverTouchedRowsStayWhereTheyAre) {
  Flat flat(kSegments, onebit(5));
  const at::Tensor before = flat.bucket_value().clone();
  for (int64_t t = 1; t <= 50; ++t) {
    flat.bucket_gradient().normal_();
    flat.bucket_gradient().narrow(0, 0, 500).zero_();
    at::Tensor answer;
    if (t > 5) {
      const at::Tensor message = flat.message(t, kLr);
      EXPECT_EQ(message.narrow(0, 0, 500).abs().max().item<float>(), 0);
      // What one bit makes of it: no zeros.
      answer = at::where(message >= 0, 1, -1) * message.square().mean().sqrt();
    }
    flat.step(t, kLr, answer);
  }
  const at::Tensor after = flat.bucket_value();
  EXPECT_TRUE(at::equal(before.narrow(0, 0, 500), after.narrow(0, 0, 500)));
  EXPECT_LT((after - before).abs().max().item<float>(), 50 * 10 * kLr);
  const at::Tensor live = flat.optimizer().live(0);
  ASSERT_TRUE(live.defined());
  for (int64_t i = 0; i < 1000; ++i)
    EXPECT_EQ((live[i / 64].item<int64_t>() >> (i % 64)) & 1, i >= 500 ? 1 : 0);
}

TEST(OnebitAdam, DeadCoordinatesStillDecay) {
  AdamOptions options = kOptions;
  options.weight_decay = 0.5;
  Flat flat(kSegments, onebit(1, 0.1, options));
  flat.bucket_gradient().normal_();
  flat.bucket_gradient().narrow(0, 0, 10).zero_();
  flat.step(1, kLr);
  const at::Tensor before = flat.bucket_value().clone();
  flat.step(2, kLr, at::ones({1000}));
  const auto keep = static_cast<float>(1 - kLr * 0.5);
  EXPECT_TRUE(at::equal(flat.bucket_value().narrow(0, 0, 10), before.narrow(0, 0, 10) * keep));
}

TEST(OnebitAdam, AllLiveNeedsNoMask) {
  Flat flat(kSegments, onebit(1));
  flat.fill_gradient(1);
  flat.step(1, kLr);
  EXPECT_FALSE(flat.optimizer().live(0).defined());
}

// A coordinate a thousand times fainter than its segment, sent as +-1 of the segment's scale.
TEST(OnebitAdam, FaintCoordinatesCannotRunAway) {
  for (const double floor : {0.0, 0.1}) {
    Flat flat(kSegments, onebit(1, floor));
    flat.fill_gradient(1);
    flat.bucket_gradient()[0] = 1e-3;
    flat.step(1, kLr);
    const double step = moved(flat, 2, at::full({1000}, 0.1)).abs().max().item<double>();
    // m / (1 - 0.9^2) = 0.53 over a root of 1e-3 or of 0.1.
    EXPECT_NEAR(step, floor > 0 ? 5.26 * kLr : 526 * kLr, 0.01 * step);
  }
}

TEST(OnebitAdam, SaveAndLoadInEachPhaseGoOnBitForBit) {
  for (const int64_t at : {2, 4, 6}) {
    at::manual_seed(at);
    Flat one(kSegments, onebit(4, 0.1));
    const auto gradient = [](int64_t t) { return at::sin(at::arange(1000) * 0.1 * t); };
    for (int64_t t = 1; t <= at; ++t) one.bucket_gradient().copy_(gradient(t)), one.step(t, kLr);
    MemoryState state;
    one.optimizer().save(state);
    Flat two(kSegments, onebit(4, 0.1));
    two.optimizer().load(state);
    two.bucket_value().copy_(one.bucket_value());
    two.set_next(one.next());
    for (int64_t t = at + 1; t <= 9; ++t)
      for (Flat* f : {&one, &two}) f->bucket_gradient().copy_(gradient(t)), f->step(t, kLr);
    EXPECT_TRUE(at::equal(one.bucket_value(), two.bucket_value())) << at;
  }
}

}  // namespace
}  // namespace terse
