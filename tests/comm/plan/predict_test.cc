// The simulation of a step, against cases worked out by hand and properties that hold whatever the
// numbers.
#include "comm/plan/predict.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "comm/pipeline_order.h"

namespace terse::testing {
namespace {

constexpr double kExact = 1e-12;  // sums of a few dozen numbers near 1 in another order

// A link that carries `seconds` with so many bytes, and nothing else.
constexpr Link kLink{.latency = 0, .per_message = 0, .bytes_per_second = 1000};

Transfer lasting(double seconds) {
  return {1, static_cast<int64_t>(std::llround(seconds * 1000))};
}

StepModel step_of(std::vector<double> ready, double backward, int64_t cores = 1) {
  return {.forward = 0, .backward = backward, .ready = std::move(ready), .cores = cores};
}

TEST(Predict, WithoutAnExchangeAStepIsItsParts) {
  const StepModel step{.forward = 1, .backward = 2, .ready = {}, .apply = 0.5};
  const StepPrediction p = predict(step, {}, kLink);
  EXPECT_DOUBLE_EQ(p.seconds, 3.5);
  EXPECT_DOUBLE_EQ(p.exposed, 0);
  EXPECT_EQ(p.wire_bytes, 0);
}

// Two buckets, two collectives of 1 s and 2 s each, no computing, ready at 1 and 3 of 4:
//   b0 r0 on the wire 1 - 2; b1 r0 waits for 3: 3 - 4; b0 r1 is issued behind it: 4 - 6;
//   b1 r1 (its r0 is through at 4, but b0 r1 was first): 6 - 8.
TEST(Predict, OneWireInPipelineOrder) {
  const BucketCost cost{.rounds = {{{}, lasting(1)}, {{}, lasting(2)}}, .finish = {}};
  const std::vector<BucketCost> costs{cost, cost};
  const StepPrediction p = predict(step_of({1, 3}, 4), costs, kLink);
  EXPECT_NEAR(p.wire_done[0], 6, kExact);
  EXPECT_NEAR(p.wire_done[1], 8, kExact);
  EXPECT_NEAR(p.done[0], 6, kExact);
  EXPECT_NEAR(p.backward, 4, kExact);
  EXPECT_NEAR(p.exposed, 4, kExact);
  EXPECT_NEAR(p.seconds, 8, kExact);
  EXPECT_EQ(p.wire_bytes, 6000);
  EXPECT_NEAR(p.wire_seconds, 6, kExact);
}

// The delay of a collective is waited for, but does not occupy the wire.
TEST(Predict, DelaysOverlap) {
  Link link = kLink;
  link.latency = 0.5;
  link.per_message = 0.25;
  const BucketCost cost{.rounds = {{{}, {3, 1000}}}, .finish = {}};
  const std::vector<BucketCost> costs{cost, cost};
  const StepPrediction p = predict(step_of({0, 0}, 0), costs, link);
  EXPECT_NEAR(p.wire_done[0], 2, kExact);  // 1 + 0.5 + 2 x 0.25
  EXPECT_NEAR(p.wire_done[1], 3, kExact);
}

// One core, backward of 4 s; a bucket ready at 2 has 1 s of encoding: both at half speed, so it
// takes 2 - 4, and backward ends at 5. The wire, 0.5 s, is through at 4.5; decoding, begun beside
// backward at 4.5 with half the core, has done 0.25 of its second when backward ends at 5.
TEST(Predict, WorkBesideBackwardSharesTheCore) {
  const std::vector<BucketCost> costs{
      {.rounds = {{{.alone = 1, .team = 1}, lasting(0.5)}}, .finish = {.alone = 0.5, .team = 0.5}}};
  const StepPrediction p = predict(step_of({2}, 4), costs, kLink);
  EXPECT_NEAR(p.wire_done[0], 4.5, kExact);
  // Of backward's last 1 s (from 4 on) 0.5 s pass alone, the rest beside decoding.
  EXPECT_NEAR(p.backward, 5.5, kExact);
  EXPECT_NEAR(p.done[0], 5.5, kExact);
}

// Three threads on two cores run at 2/3. Behind backward the team's time counts.
TEST(Predict, TwoCores) {
  const std::vector<BucketCost> costs{
      {.rounds = {{{.alone = 2, .team = 1}, lasting(1)}}, .finish = {.alone = 2, .team = 1}}};
  const StepPrediction p = predict(step_of({0}, 3, 2), costs, kLink);
  // Encoding: 2 s at 2/3 = 3 s, backward has done 2 of 3; the wire until 4, as backward.
  EXPECT_NEAR(p.wire_done[0], 4, kExact);
  EXPECT_NEAR(p.backward, 4, kExact);
  EXPECT_NEAR(p.done[0], 5, kExact);
}

// A sending transport that needs half the core slows backward down to half while it sends.
TEST(Predict, TheTransportTakesCores) {
  Link link = kLink;
  link.core_seconds_per_byte = 0.5 / 1000;
  const std::vector<BucketCost> costs{{.rounds = {{{}, lasting(2)}}, .finish = {}}};
  EXPECT_NEAR(predict(step_of({0}, 3), costs, link).backward, 4, kExact);
}

// An exchange of one round among others of three: it finishes in the last item.
TEST(Predict, MixedExchangesFinishTogether) {
  const std::vector<BucketCost> costs{
      {.rounds = {{{}, lasting(1)}}, .finish = {}},
      {.rounds = {{{}, lasting(1)}, {{}, lasting(1)}, {{}, lasting(1)}}, .finish = {}}};
  const StepPrediction p = predict(step_of({0, 0}, 0), costs, kLink);
  // b0 r0: 0 - 1; b1 r0: 1 - 2; b1 r1: 2 - 3; b1 r2 waits for it and comes before b0's finish.
  EXPECT_NEAR(p.wire_done[0], 1, kExact);
  EXPECT_NEAR(p.done[0], 3, kExact);
  EXPECT_NEAR(p.wire_done[1], 4, kExact);
}

// The vote: two collectives' delay behind each other on 3 ranks.
TEST(Predict, TheVoteCounts) {
  Link link{.latency = 1, .per_message = 0.5, .bytes_per_second = 1e15};
  StepModel step = step_of({}, 2);
  step.ranks = 3;
  EXPECT_NEAR(predict(step, {}, link).exposed, 1.5, 1e-9);
}

TEST(Predict, RefusesWhatDoesNotFit) {
  EXPECT_THROW(predict(step_of({1}, 1), {}, kLink), std::logic_error);
  EXPECT_THROW(predict(step_of({}, 1, 0), {}, kLink), std::logic_error);
  EXPECT_THROW(predict(step_of({}, 1), {}, {.bytes_per_second = 0}), std::logic_error);
}

// Early buckets hide, late ones are waited for; on a saturated wire all of them are.
TEST(Exposures, LateBucketsAndFullWires) {
  const auto costs = [](double seconds) {
    return std::vector<BucketCost>(4, {.rounds = {{{}, lasting(seconds)}}, .finish = {}});
  };
  const StepModel step = step_of({1, 2, 3, 4}, 4);
  const std::vector<double> idle = exposures(step, costs(0.5), kLink);
  EXPECT_EQ(idle[0], 0);
  EXPECT_EQ(idle[2], 0);
  EXPECT_NEAR(idle[3], 1, kExact);
  const std::vector<double> full = exposures(step, costs(10), kLink);
  EXPECT_NEAR(full[0], 0.9, kExact);  // without it the wire would be idle from 1 to 2
  for (size_t b = 1; b < 4; ++b) EXPECT_NEAR(full[b], 1, kExact);
}

struct Random {
  std::mt19937 engine{1};
  double number(double most) { return std::uniform_real_distribution<double>(0, most)(engine); }
  int64_t count(int64_t most) { return std::uniform_int_distribution<int64_t>(1, most)(engine); }

  StepModel step(size_t buckets) {
    StepModel s;
    s.forward = number(1);
    s.backward = number(3);
    s.apply = number(0.2);
    for (size_t b = 0; b < buckets; ++b) s.ready.push_back(number(s.backward));
    std::sort(s.ready.begin(), s.ready.end());
    s.cores = count(4);
    s.ranks = count(100);
    return s;
  }
  std::vector<BucketCost> costs(size_t buckets) {
    std::vector<BucketCost> all(buckets);
    const auto rounds = static_cast<size_t>(count(4));
    for (BucketCost& cost : all) {
      for (size_t r = 0; r < rounds; ++r)
        cost.rounds.push_back({{number(0.1), number(0.1)}, {count(9), count(400)}});
      cost.finish = {number(0.1), number(0.1)};
    }
    return all;
  }
};

// Without cores to share (no work), the simulation is the recurrence that the header states.
TEST(PredictProperties, AgreesWithThePlainRecurrence) {
  Random random;
  for (int trial = 0; trial < 200; ++trial) {
    const auto buckets = static_cast<size_t>(random.count(8));
    const StepModel step = random.step(buckets);
    std::vector<BucketCost> costs = random.costs(buckets);
    for (BucketCost& cost : costs) {
      for (RoundCost& round : cost.rounds) round.work = {};
      cost.finish = {};
    }
    const Link link{.latency = 0.01, .per_message = 0.002, .bytes_per_second = 1000};
    const size_t rounds = costs[0].rounds.size();
    double now = 0, wire = 0;
    std::vector<double> through(buckets);
    for (const ReducerItem item :
         pipeline_order(static_cast<int64_t>(buckets), static_cast<int>(rounds))) {
      const auto b = static_cast<size_t>(item.bucket), r = static_cast<size_t>(item.round);
      now = std::max(now, r == 0 ? step.ready[b] : through[b]);
      if (r == rounds) continue;
      const Transfer t = costs[b].rounds[r].transfer;
      wire = std::max(wire, now) + static_cast<double>(t.bytes) / 1000;
      through[b] = wire + 0.01 + static_cast<double>(t.messages - 1) * 0.002;
    }
    const StepPrediction p = predict(step, costs, link);
    for (size_t b = 0; b < buckets; ++b) ASSERT_NEAR(p.wire_done[b], through[b], 1e-9);
    ASSERT_NEAR(p.backward, step.backward, 1e-9);
  }
}

TEST(PredictProperties, BoundsAndMonotony) {
  Random random;
  for (int trial = 0; trial < 200; ++trial) {
    const auto buckets = static_cast<size_t>(random.count(12));
    const StepModel step = random.step(buckets);
    std::vector<BucketCost> costs = random.costs(buckets);
    const Link link{.latency = random.number(0.01),
                    .per_message = random.number(0.001),
                    .bytes_per_second = 100 + random.number(5000),
                    .core_seconds_per_byte = random.number(1e-4)};
    const StepPrediction p = predict(step, costs, link);
    ASSERT_GE(p.backward, step.backward * (1 - kExact));
    ASSERT_GE(p.seconds, step.forward + step.backward + step.apply);
    ASSERT_GE(p.seconds, step.forward + p.wire_seconds + step.apply);
    ASSERT_NEAR(p.seconds, step.forward + p.backward + p.exposed + step.apply, 1e-9);
    for (size_t b = 0; b < buckets; ++b) ASSERT_GE(p.done[b], p.wire_done[b] - 1e-9);
    for (const double e : exposures(step, costs, link)) ASSERT_TRUE(e >= 0 && e <= 1);

    // The wire's part of the step can only fall on a faster link without a transport.
    Link slow = link, fast = link;
    slow.core_seconds_per_byte = fast.core_seconds_per_byte = 0;
    fast.bytes_per_second *= 4;
    std::vector<BucketCost> wire_only = costs;
    for (BucketCost& cost : wire_only) {
      for (RoundCost& round : cost.rounds) round.work = {};
      cost.finish = {};
    }
    ASSERT_LE(predict(step, wire_only, fast).seconds,
              predict(step, wire_only, slow).seconds + 1e-9);
  }
}

}  // namespace
}  // namespace terse::testing
