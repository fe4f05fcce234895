#include "comm/auto_exchange.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/state.h"
#include "comm/make_exchange.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

BucketPlan two_buckets() {
  return {{{0, 640, {{"a", 0, 640, 10, 64, true}}}, {1, 128, {{"b", 0, 128, 2, 64, true}}}}};
}

// An exchange on one rank whose chooser takes the next of a list.
struct Fixture {
  explicit Fixture(std::vector<std::vector<int64_t>> choices, AutoOptions options = {})
      : wanted(std::move(choices)) {
    std::vector<SelectCandidate> candidates;
    for (const std::string name : {"fp32", "onebit"})
      candidates.push_back({.name = name, .lossy = name == "onebit", .make = [name] {
                              return make_exchange(Group::single(), {.codec = name});
                            }});
    exchange = std::make_unique<AutoExchange>(
        Group::single(), Group::single(), std::move(candidates),
        [this](const BucketPlan&, const StepTimes& times, std::span<const int64_t>) {
          seen.push_back(times);
          return AutoChoice{wanted.at(seen.size() - 1), "said so"};
        },
        std::move(options));
    exchange->attach(two_buckets());
  }

  // A step as the Reducer takes it. True if a decision was due.
  bool step(int64_t number, double exposed = 0.01) {
    const bool quiet = exchange->quiet(number);
    for (int64_t b = 0; b < 2; ++b) {
      const at::Tensor m = at::ones({b == 0 ? 640 : 128});
      exchange->start(b, m);
      for (int r = 1; r < exchange->rounds(); ++r) exchange->advance(b, r);
      exchange->finish(b, m);
    }
    const bool due = exchange->due(number);
    exchange->commit();
    exchange->observe(StepTimes{.step = number,
                                .quiet = quiet,
                                .forward = 0.03,
                                .backward = 0.06 + 0.001 * static_cast<double>(number),
                                .ready = {0.02, 0.06},
                                .exposed = exposed,
                                .apply = 0.01});
    if (due) exchange->decide(number + 1);
    return due;
  }
  // The steps of [first, last] at which a decision was due.
  std::vector<int64_t> steps(int64_t first, int64_t last, double exposed = 0.01) {
    std::vector<int64_t> due;
    for (int64_t s = first; s <= last; ++s)
      if (step(s, exposed)) due.push_back(s);
    return due;
  }

  std::vector<std::vector<int64_t>> wanted;
  std::vector<StepTimes> seen;
  std::unique_ptr<AutoExchange> exchange;
};

using Steps = std::vector<int64_t>;

TEST(AutoExchange, LooksAfterAFewQuietStepsAndThenEverySoMany) {
  Fixture f({{0, 1}, {0, 1}, {1, 1}}, {.every = 30});
  EXPECT_FALSE(f.exchange->compresses());
  EXPECT_FALSE(f.exchange->quiet(2));
  EXPECT_TRUE(f.exchange->quiet(3));
  EXPECT_EQ(f.steps(1, 70), (Steps{6, 36, 66}));
  EXPECT_TRUE(f.exchange->compresses());
  EXPECT_DOUBLE_EQ(f.seen[0].backward, 0.065) << "the median of steps 3 to 6, the upper one";
  const auto decisions = f.exchange->take_decisions();
  ASSERT_EQ(decisions.size(), 3u);
  EXPECT_EQ(decisions[0].what, "exchange");
  EXPECT_EQ(decisions[0].value, "fp32*1 onebit*1");
  EXPECT_EQ(decisions[0].reason, "changed; said so");
  EXPECT_EQ(decisions[1].reason, "kept; said so");
  EXPECT_EQ(decisions[2].value, "onebit");
  EXPECT_TRUE(f.exchange->take_decisions().empty());
}

TEST(AutoExchange, LooksAgainWhenTheExposedTimeHasMoved) {
  Fixture f({{1, 1}, {1, 1}, {0, 0}}, {.every = 1000});
  EXPECT_EQ(f.steps(1, 100), (Steps{6}));
  // A fifth of a step of 0.3 s; ten steps' median shows it after five, and three quiet ones follow.
  EXPECT_EQ(f.steps(101, 120, 0.1), (Steps{109}));
  EXPECT_EQ(f.steps(121, 200, 0.1), (Steps{})) << "that is what it is now";
}

TEST(AutoExchange, SkippedStepsPutALookOff) {
  Fixture f({{1, 1}}, {});
  f.steps(1, 3);
  EXPECT_FALSE(f.exchange->due(6)) << "one quiet step is not enough";
  EXPECT_EQ(f.steps(7, 9), (Steps{8}));
}

TEST(AutoExchange, ResumesWithWhatWasDecided) {
  Fixture f({{1, 0}, {0, 0}}, {.every = 40});
  f.steps(1, 20);
  MemoryState state(1);
  f.exchange->save(state);
  Fixture resumed({{0, 0}}, {.every = 40});
  resumed.exchange->load(state);
  EXPECT_EQ(resumed.exchange->selection_text(), "onebit*1 fp32*1");
  EXPECT_EQ(resumed.steps(21, 60), (Steps{46}));
}

TEST(AutoExchange, ReplaysDecisionsWithoutMeasuring) {
  Fixture f({}, {.replay = true, .replayed = {{5, "onebit"}, {9, "fp32*1 onebit*1"}}});
  EXPECT_FALSE(f.exchange->quiet(4));
  EXPECT_EQ(f.steps(1, 6), (Steps{4}));
  EXPECT_EQ(f.exchange->selection_text(), "onebit");
  EXPECT_EQ(f.steps(7, 100), (Steps{8}));
  EXPECT_EQ(f.exchange->selection_text(), "fp32*1 onebit*1");
  EXPECT_EQ(f.exchange->take_decisions().size(), 2u);
}

TEST(AutoExchange, RefusesDecisionsOfAnotherModel) {
  for (const std::string text : {"onebit*3", "onebit*1", "topk", "", "onebit*x"}) {
    Fixture f({}, {.replay = true, .replayed = {{2, text}}});
    try {
      f.step(1);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::invalid_file) << text;
    }
  }
}

}  // namespace
}  // namespace terse
