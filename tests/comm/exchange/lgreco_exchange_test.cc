// L-GreCo by time, with a link and a codec that the test makes up.
#include "comm/lgreco_exchange.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/state.h"
#include "comm/exchange_codec.h"
#include "comm/make_exchange.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

using ::testing::HasSubstr;

// Two matrices, the first and the last bucket; a vector between them, as the last round of a bucket
// comes after the first of the next (comm/pipeline_order.h).
BucketPlan two_matrices() {
  BucketPlan plan = plan_of({{64 * 64}, {100}, {64 * 64, 50}});
  for (const size_t b : {0, 2})
    plan.buckets[b].segments[0].rows = plan.buckets[b].segments[0].columns = 64;
  return plan;
}

const ExchangeOptions kTopk{.codec = "topk", .density = 0.05, .sparse = "gather"};
constexpr int64_t kEvery = 15;

// An L-GreCo of density on one rank that is told of a link to another one.
struct Fixture {
  explicit Fixture(double bytes_per_second, LgrecoOptions options = {.every = kEvery}) {
    if (bytes_per_second > 0) options.timer = timer(bytes_per_second);
    exchange =
        std::make_unique<LgrecoExchange>(Group::single(), make_exchange(Group::single(), kTopk),
                                         lgreco_topk(0.05, make_codec(kTopk)), options);
    exchange->attach(two_matrices());
  }

  LgrecoTimer timer(double bytes_per_second) {
    LgrecoTimer t;
    t.measure = [this, bytes_per_second](const BucketPlan&, const std::vector<StepTimes>& quiet) {
      seen.push_back(quiet);
      LgrecoTimes times{.link = {.latency = 0, .bytes_per_second = bytes_per_second},
                        .step = {},
                        .work = std::vector(11, std::vector(3, Work{}))};
      if (!quiet.empty())
        times.step = {
            .forward = quiet[0].forward, .backward = quiet[0].backward, .ready = quiet[0].ready};
      return times;
    };
    t.transfers = [](const Bucket& bucket) {
      return std::vector<Transfer>{{1, 8}, {1, bucket.size / 4}};
    };
    return t;
  }

  // Steps as the Reducer takes them: the first bucket is ready at once, the last one at the end of
  // a second of backward.
  void steps(int64_t first, int64_t last) {
    Decider* decider = exchange->decider();
    for (int64_t step = first; step <= last; ++step) {
      const bool quiet = decider != nullptr && decider->quiet(step);
      if (quiet) quiet_steps.push_back(step);
      for (int64_t b = 0; b < 3; ++b) {
        const int64_t n = two_matrices().buckets[static_cast<size_t>(b)].size;
        answer = average(*exchange, b, host_message(n, b, step));
      }
      const bool due = decider != nullptr && decider->due(step);
      exchange->commit();
      if (decider == nullptr) continue;
      decider->observe({.step = step,
                        .quiet = quiet,
                        .forward = 0.5,
                        .backward = 1,
                        .ready = {0, 0.5, 1},
                        .exposed = 0.1,
                        .apply = 0.1});
      if (due) decider->decide(step + 1);
    }
  }
  std::vector<ExchangeDecision> run(int64_t first, int64_t last) {
    steps(first, last);
    return exchange->take_decisions();
  }

  std::vector<std::vector<StepTimes>> seen;
  std::vector<int64_t> quiet_steps;
  at::Tensor answer;
  std::unique_ptr<LgrecoExchange> exchange;
};

// 16 kB hide behind a second of backward, so the first bucket goes whole and what the second one
// may lose doubles.
TEST(LgrecoByTime, WhatIsHiddenGoesWhole) {
  const auto by_time = Fixture(1e6).run(1, 20), by_bytes = Fixture(0).run(1, 20);
  ASSERT_EQ(by_time.size(), 1u);
  ASSERT_EQ(by_bytes.size(), 1u);
  EXPECT_THAT(by_time[0].value, HasSubstr("b0.s0=1 "));
  EXPECT_THAT(by_time[0].reason, HasSubstr("changed: predicted a step of 1."));
  EXPECT_THAT(by_time[0].reason, HasSubstr("link 8"));
  EXPECT_NE(by_time[0].value, by_bytes[0].value);
  EXPECT_THAT(by_bytes[0].reason, HasSubstr("bytes a step where"));
}

// Nothing hides on a slow one: fewer bytes are less time.
TEST(LgrecoByTime, ASlowLinkChoosesAsByBytes) {
  EXPECT_EQ(Fixture(1e2).run(1, 20)[0].value, Fixture(0).run(1, 20)[0].value);
}

TEST(LgrecoByTime, MeasuresAfterQuietSteps) {
  Fixture f(1e6);
  f.steps(1, 2 * kEvery + 5);
  EXPECT_EQ(f.quiet_steps, (std::vector<int64_t>{12, 13, 14, 27, 28, 29}));
  ASSERT_EQ(f.seen.size(), 2u);
  EXPECT_EQ(f.seen[0].size(), 3u);
  EXPECT_EQ(f.seen[1].size(), 3u);
  EXPECT_EQ(f.exchange->take_decisions().size(), 2u);
  EXPECT_EQ(Fixture(0).exchange->decider(), nullptr);
}

// Nobody timed a step: all is waited for, until somebody has.
TEST(LgrecoByTime, WithoutTimesAllIsWaitedFor) {
  Fixture f(1e6);
  for (int64_t step = 1; step <= 20; ++step) {
    for (int64_t b = 0; b < 3; ++b)
      average(*f.exchange, b,
              host_message(two_matrices().buckets[static_cast<size_t>(b)].size, b, step));
    f.exchange->commit();
  }
  EXPECT_EQ(f.exchange->take_decisions()[0].value, Fixture(0).run(1, 20)[0].value);
}

// Saved before the measurement's steps, in its wake, and while the tables are solved.
TEST(LgrecoByTime, ResumesBitwise) {
  for (const int64_t stop : {15, 16, 19, 20, 27}) {
    SCOPED_TRACE(stop);
    Fixture whole(1e6);
    whole.steps(1, stop);
    MemoryState state(1);
    whole.exchange->save(state);
    whole.exchange->take_decisions();
    const auto decided = whole.run(stop + 1, 40);
    Fixture resumed(1e6);
    resumed.exchange->load(state);
    const auto again = resumed.run(stop + 1, 40);
    EXPECT_TRUE(at::equal(whole.answer, resumed.answer));
    ASSERT_EQ(again.size(), decided.size());
    for (size_t i = 0; i < again.size(); ++i) {
      EXPECT_EQ(again[i].value, decided[i].value);
      EXPECT_EQ(again[i].reason, decided[i].reason);
    }
  }
}

TEST(LgrecoByTime, StateOfAnotherRecipeIsMeasuredAnew) {
  Fixture whole(1e6);
  whole.steps(1, 17);
  MemoryState state(1);
  whole.exchange->save(state);
  const double few[] = {1, 2, 3};
  state.tensor(Scope::shared, "exchange/lgreco/times", {DType::f64, {3}, bytes_of(few, 3)});
  EXPECT_THROW(Fixture(1e6).exchange->load(state), Error);
  const std::vector<double> other{0, 0, 1e6, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0};
  state.tensor(Scope::shared, "exchange/lgreco/times",
               {DType::f64, {13}, bytes_of(other.data(), 13)});
  Fixture resumed(1e6);
  resumed.exchange->load(state);
  resumed.steps(18, 20);
  EXPECT_EQ(resumed.seen.size(), 1u);
}

TEST(LgrecoReplay, RepeatsDecisionsWithoutMeasuring) {
  Fixture first(1e6);
  const auto decided = first.run(1, 40);
  ASSERT_EQ(decided.size(), 2u);
  Fixture again(1e6, {.every = kEvery,
                      .replay = true,
                      .replayed = {{21, decided[0].value}, {36, decided[1].value}}});
  const auto repeated = again.run(1, 40);
  ASSERT_EQ(repeated.size(), 2u);
  EXPECT_EQ(repeated[1].value, decided[1].value);
  EXPECT_EQ(repeated[1].reason, "replayed");
  EXPECT_TRUE(at::equal(again.answer, first.answer));
  EXPECT_TRUE(again.seen.empty());
  EXPECT_TRUE(again.quiet_steps.empty());
}

TEST(LgrecoReplay, RefusesDecisionsOfAnotherModel) {
  for (const std::string text :
       {"", "b0.s0=1", "b0.s0=1 b2.s0=0.3", "a=1 b2.s0=1", "b0.s0 b2.s0"}) {
    Fixture f(0, {.every = kEvery, .replay = true, .replayed = {{2, text}}});
    try {
      f.steps(1, 1);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::invalid_file) << text;
    }
  }
}

}  // namespace
}  // namespace terse::testing
