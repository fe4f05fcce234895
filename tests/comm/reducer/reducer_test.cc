// The Reducer's protocol on one rank; tests/optim has it on several, with real exchanges.
#include "comm/reducer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "comm/reducer_thread.h"
#include "tests/comm/reducer/fakes.h"

namespace terse {
namespace {

constexpr PhasePlan kCodec{Phase::codec, 1};

struct Fixture {
  explicit Fixture(
      ReducerOptions options = {},
      std::function<PhasePlan(int64_t)> plan = [](int64_t) { return PhasePlan{}; }) {
    for (int64_t i = 0; i < 4; ++i)
      weights.push_back({fmt::format("w{}", i), at::ones({2, 3 + i}).requires_grad_(true), true});
    auto descent = std::make_shared<Descent>(log);
    descent->plan = std::move(plan);
    auto d = std::make_unique<EchoExchange>("dense", log);
    auto c = std::make_unique<EchoExchange>("codec", log);
    dense = d.get(), codec = c.get();
    options.bucket_bytes = 60;  // w3 | w2 | w1, w0
    reducer = std::make_unique<Reducer>(Group::single(), weights, descent, std::move(d),
                                        std::move(c), options);
  }
  // Gradient of weight i is factor * (i + 1) everywhere.
  at::Tensor loss(double factor, size_t used = 4) {
    at::Tensor sum = at::zeros({});
    for (size_t i = 0; i < used; ++i)
      sum = sum + weights[i].value.sum() * (factor * static_cast<double>(i + 1));
    return sum;
  }
  StepResult step(int64_t number, double factor = 1, size_t used = 4) {
    reducer->begin(number, 0.5);
    reducer->last_micro_batch();
    loss(factor, used).backward();
    return reducer->finish(factor);
  }
  float weight(size_t i) { return weights[i].value.mean().item<float>(); }

  std::shared_ptr<Log> log = std::make_shared<Log>();
  std::vector<Parameter> weights;
  EchoExchange* dense;
  EchoExchange* codec;
  std::unique_ptr<Reducer> reducer;
};

TEST(PipelineOrder, StagesOfNeighboursOverlap) {
  const std::vector<ReducerItem> expected = {{0, 0}, {1, 0}, {0, 1}, {2, 0}, {1, 1},
                                             {0, 2}, {2, 1}, {1, 2}, {2, 2}};
  EXPECT_EQ(pipeline_order(3, 2), expected);
  EXPECT_EQ(pipeline_order(2, 0), (std::vector<ReducerItem>{{0, 0}, {1, 0}}));
  EXPECT_TRUE(pipeline_order(0, 2).empty());
}

TEST(Reducer, PlansInReverseAndKeepsValuesAndShapes) {
  Fixture f;
  ASSERT_EQ(f.reducer->plan().buckets.size(), 3u);
  EXPECT_EQ(f.reducer->plan().buckets[0].segments[0].name, "w3");
  EXPECT_EQ(f.reducer->plan().buckets[2].segments[1].name, "w0");
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(f.weights[i].value.sizes(), (at::IntArrayRef{2, 3 + static_cast<int64_t>(i)}));
    EXPECT_EQ(f.weight(i), 1);
  }
}

TEST(Reducer, AStepMovesTheWeightsAndClearsTheGradients) {
  Fixture f({.clip = 0});
  const StepResult r = f.step(1);
  EXPECT_TRUE(r.committed);
  EXPECT_EQ(r.loss, 1);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(f.weight(i), 1 - 0.5f * static_cast<float>(i + 1));
    EXPECT_EQ(f.weights[i].value.grad().abs().max().item<float>(), 0);
  }
  EXPECT_EQ(f.log->count("dense finish"), 3);
  EXPECT_EQ(f.log->count("codec"), 0);
}

// Every bucket goes out once, with the sum of its micro-batches.
TEST(Reducer, MicroBatchesAddUp) {
  for (const PhasePlan& plan : {PhasePlan{}, kCodec}) {
    Fixture f({.clip = 0}, [plan](int64_t) { return plan; });
    f.reducer->begin(1, 0.5);
    f.loss(0.25).backward();
    EXPECT_EQ(f.log->lines.size(), 0u);
    f.reducer->last_micro_batch();
    f.loss(0.75).backward();
    EXPECT_EQ(f.reducer->finish(0).phase, plan.phase);
    EXPECT_FLOAT_EQ(f.weight(1), 1 - 0.5f * 2);
    EXPECT_EQ(f.log->count(plan.phase == Phase::codec ? "codec start" : "dense start"), 3);
  }
}

TEST(Reducer, AParameterWithoutGradientContributesZeros) {
  Fixture f({.clip = 0});
  f.step(1);
  const float before = f.weight(3);
  const StepResult r = f.step(2, 1, 2);  // w2 and w3 take no part
  EXPECT_TRUE(r.committed);
  EXPECT_EQ(f.weight(3), before);
  EXPECT_FLOAT_EQ(f.weight(0), 0);
  EXPECT_EQ(f.log->count("dense finish"), 6);
}

TEST(Reducer, ExchangesWhileBackwardRuns) {
  Fixture f;
  const auto began = [&] { return f.dense->thread_of_start.load() != std::thread::id(); };
  bool during_backward = false;
  // The last gradient, which the last bucket needs, is not there before the first bucket is on its
  // way.
  f.weights[0].value.register_hook([&](const at::Tensor&) {
    for (int i = 0; i < 2000 && !began(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    during_backward = began();
  });
  f.reducer->begin(1, 0.5);
  f.reducer->last_micro_batch();
  f.loss(1).backward();
  EXPECT_TRUE(during_backward);
  EXPECT_NE(f.dense->thread_of_start.load(), std::this_thread::get_id());
  f.reducer->finish(0);
}

TEST(Reducer, OneFixedOrderWhateverTheTiming) {
  std::vector<std::string> orders[2];
  for (const bool overlap : {true, false}) {
    Fixture f({.overlap = overlap});
    for (int64_t t = 1; t <= 20; ++t) f.step(t);
    for (const std::string& line : f.log->lines)
      if (line.starts_with("dense ")) orders[overlap].push_back(line);
  }
  EXPECT_EQ(orders[0], orders[1]);
}

TEST(Reducer, DensePhasesClipByTheAveragedNorm) {
  Fixture f({.clip = 2.0});
  const StepResult r = f.step(1);
  // Weights of 6, 8, 10, 12 elements with gradients 1, 2, 3, 4.
  const double norm = std::sqrt(6 * 1 + 8 * 4 + 10 * 9 + 12 * 16.0);
  EXPECT_NEAR(r.gradient_norm, norm, 1e-9);
  EXPECT_NEAR(r.clip_coefficient, 2 / norm, 1e-9);
  EXPECT_NEAR(f.weight(0), 1 - 0.5 * 2 / norm, 1e-6);
}

TEST(Reducer, CodecPhasesClipByThePreviousStep) {
  const double norm = std::sqrt(320.0);
  Fixture f({.clip = 2.0}, [](int64_t t) { return t > 1 ? kCodec : PhasePlan{}; });
  f.step(1);
  const StepResult r = f.step(2, 1.5);  // true coefficient: two thirds of the assumed one
  EXPECT_EQ(r.phase, Phase::codec);
  EXPECT_FALSE(r.reencoded);
  EXPECT_NEAR(r.clip_coefficient, 2 / norm, 1e-9);
  EXPECT_NEAR(r.gradient_norm, 1.5 * norm, 1e-9);
  EXPECT_EQ(f.log->count("codec start"), 3);
}

TEST(Reducer, EncodesAgainWhenTheCoefficientIsFarOff) {
  const double norm = std::sqrt(320.0);
  Fixture f({.clip = 2.0}, [](int64_t t) { return t > 1 ? kCodec : PhasePlan{}; });
  f.step(1);
  const float before = f.weight(0);
  const StepResult r = f.step(2, 5);
  EXPECT_TRUE(r.reencoded);
  EXPECT_TRUE(r.committed);
  EXPECT_NEAR(r.clip_coefficient, 2 / (5 * norm), 1e-9);
  EXPECT_NEAR(f.weight(0), before - 0.5 * 5 * 2 / (5 * norm), 1e-6);
  EXPECT_EQ(f.log->count("codec start"), 6);
  EXPECT_EQ(f.log->count("codec rollback"), 1);
  EXPECT_EQ(f.log->count("codec commit"), 1);
}

TEST(Reducer, ExactClippingWaitsForTheNorm) {
  const double norm = std::sqrt(320.0);
  Fixture f({.clip = 2.0, .clip_exact = true},
            [](int64_t t) { return t > 1 ? kCodec : PhasePlan{}; });
  f.step(1);
  const StepResult r = f.step(2, 5);
  EXPECT_FALSE(r.reencoded);
  EXPECT_NEAR(r.clip_coefficient, 2 / (5 * norm), 1e-9);
  EXPECT_EQ(f.log->count("codec start"), 3);
}

TEST(Reducer, NonFiniteStepsChangeNothing) {
  for (const PhasePlan& plan : {PhasePlan{}, kCodec}) {
    Fixture f({.clip = 0}, [plan](int64_t) { return plan; });
    f.step(1);
    const float before = f.weight(2);
    const StepResult r = f.step(2, std::numeric_limits<double>::quiet_NaN());
    EXPECT_FALSE(r.committed);
    EXPECT_EQ(r.bad_rank, 0);
    EXPECT_EQ(f.weight(2), before);
    EXPECT_EQ(f.log->count("commit"), 1);
    EXPECT_EQ(f.log->count("rollback"), 1);
    EXPECT_EQ(f.weights[0].value.grad().abs().max().item<float>(), 0);
    EXPECT_TRUE(f.step(3).committed);
  }
}

TEST(Reducer, AnAverageThatOverflowsIsSkippedToo) {
  Fixture f;
  f.dense->spoil = std::numeric_limits<double>::infinity();
  const StepResult r = f.step(1);
  EXPECT_FALSE(r.committed);
  EXPECT_EQ(r.bad_rank, -1);
  EXPECT_EQ(f.weight(0), 1);
}

TEST(Reducer, TooManySkippedStepsAreAnError) {
  Fixture f({.max_skipped = 2});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  f.step(1, nan), f.step(2, nan);
  f.step(3);  // a good one: the count starts again
  f.step(4, nan), f.step(5, nan);
  try {
    f.step(6, nan);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::non_finite);
  }
}

TEST(Reducer, ANewEpochZeroesTheResidualsOnce) {
  Fixture f({}, [](int64_t t) { return t > 2 ? kCodec : PhasePlan{}; });
  for (int64_t t = 1; t <= 5; ++t) {
    EXPECT_EQ(f.reducer->phase().phase, t > 2 ? Phase::codec : Phase::dense);
    f.step(t);
  }
  EXPECT_EQ(f.log->count("codec reset"), 1);
  EXPECT_EQ(f.reducer->encodes(), 9 + 6);  // the dense fake counts as well
}

TEST(Reducer, LocalStepsExchangeNothing) {
  Fixture f({.clip = 0}, [](int64_t) { return PhasePlan{Phase::skip, 0}; });
  EXPECT_TRUE(f.step(1).committed);
  EXPECT_FLOAT_EQ(f.weight(0), 0.5f);
  EXPECT_EQ(f.log->count("dense"), 0);
}

TEST(Reducer, ErrorsOfTheCommunicationThreadSurfaceInFinish) {
  for (const int64_t bucket : {0, 2}) {
    Fixture f;
    f.dense->fail_at = bucket;
    f.reducer->begin(1, 0.5);
    f.reducer->last_micro_batch();
    f.loss(1).backward();
    try {
      f.reducer->finish(0);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::peer_lost);
    }
  }
}

TEST(Reducer, AnAbandonedBackwardDoesNotHang) {
  Fixture f;
  f.reducer->begin(1, 0.5);
  f.reducer->last_micro_batch();
}

TEST(Reducer, AReplacedGradientIsFound) {
  Fixture f;
  f.weights[1].value.mutable_grad() = at::Tensor();
  f.reducer->begin(1, 0.5);
  f.reducer->last_micro_batch();
  EXPECT_ANY_THROW(f.loss(1).backward());
}

TEST(Reducer, KeepsARoundedCopy) {
  Fixture f({.clip = 0, .rounded = true});
  EXPECT_TRUE(at::equal(f.reducer->rounded("w1"), f.weights[1].value.detach().to(at::kBFloat16)));
  EXPECT_FALSE(f.reducer->rounded("nothing").defined());
}

TEST(Reducer, DecidesWhereTheVoteSaysAndTellsTheOptimizer) {
  Fixture f;
  f.codec->fake_decider = std::make_unique<FakeDecider>(f.log);
  f.codec->fake_decider->due_at = 2;
  f.step(1);
  EXPECT_EQ(f.log->count("decide"), 0);
  f.step(2);
  f.step(3);
  EXPECT_EQ(f.log->count("decide from 3"), 1);
  const auto at = [&](const std::string& line) {
    return std::ranges::find(f.log->lines, line) - f.log->lines.begin();
  };
  EXPECT_LT(at("decide from 3"), at("allowed"));
  // After everything of step 2 and before anything of step 3.
  EXPECT_EQ(std::count(f.log->lines.begin(), f.log->lines.begin() + at("decide from 3"), "commit"),
            2);
}

TEST(Reducer, ASkippedStepDecidesNothing) {
  Fixture f;
  f.codec->fake_decider = std::make_unique<FakeDecider>(f.log);
  f.codec->fake_decider->due_at = 1;
  EXPECT_FALSE(f.step(1, std::numeric_limits<double>::quiet_NaN()).committed);
  EXPECT_EQ(f.log->count("decide"), 0);
  EXPECT_TRUE(f.codec->fake_decider->times.empty());
}

// Compression that has begun goes on, whatever is decided later.
TEST(Reducer, CompressionOnceBegunStaysAllowed) {
  Fixture f({}, [](int64_t step) { return step < 2 ? PhasePlan{} : kCodec; });
  f.codec->fake_decider = std::make_unique<FakeDecider>(f.log);
  f.codec->fake_decider->compressing = true;
  f.codec->fake_decider->due_at = 3;
  for (int64_t s = 1; s <= 3; ++s) f.step(s);
  EXPECT_FALSE(f.codec->fake_decider->compresses());
  EXPECT_EQ(f.log->lines.back(), "allowed");
}

TEST(Reducer, AQuietStepExchangesBehindBackward) {
  Fixture f;
  f.dense->fake_decider = std::make_unique<FakeDecider>(f.log);
  f.codec->fake_decider = std::make_unique<FakeDecider>(f.log);
  f.codec->fake_decider->quiet_at = 2;
  for (int64_t s = 1; s <= 2; ++s) f.step(s);
  const auto& times = f.codec->fake_decider->times;
  ASSERT_EQ(times.size(), 2u);
  EXPECT_TRUE(f.dense->fake_decider->times.empty()) << "the compressed exchange decides for both";
  EXPECT_FALSE(times[0].quiet);
  EXPECT_TRUE(times[1].quiet);
  EXPECT_EQ(f.dense->thread_of_start, std::this_thread::get_id());
  for (const StepTimes& t : times) {
    ASSERT_EQ(t.ready.size(), 3u);
    for (const double at : t.ready) {
      EXPECT_GT(at, 0);
      EXPECT_LE(at, t.backward);
    }
    EXPECT_GT(t.exposed, 0);
  }
}

TEST(Reducer, LoadRefusesAnotherPlan) {
  Fixture f;
  MemoryState state;
  f.reducer->save(state);
  f.reducer->load(state);
  BucketPlan other = f.reducer->plan();
  other.buckets[0].segments[0].name = "other";
  state.value(Scope::shared, "reducer/plan", other.text());
  EXPECT_THROW(f.reducer->load(state), Error);
}

}  // namespace
}  // namespace terse
