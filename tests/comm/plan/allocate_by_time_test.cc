// L-GreCo by time: against every allocation that there is, and on links where time and bytes choose
// differently.
#include "comm/plan/allocate_by_time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/comm/allocation/tables.h"

namespace terse::testing {
namespace {

using ::testing::ElementsAre;

using Choices = std::vector<int64_t>;

struct Example {
  TimedStep step;
  std::vector<TimedSegment> timed;
  std::vector<AllocationSegment> segments;

  TimedAllocation solve(const AllocationOptions& options = {}) const {
    return allocate_by_time(step, timed, segments, options);
  }

  // That the exchange adds to a step, simulated from what each segment costs on its own: the
  // uniform parameter's costs are taken away and the choice's put in their place.
  double seconds(const Choices& choice) const {
    std::vector<BucketCost> costs = step.uniform;
    for (size_t b = 0; b < costs.size(); ++b) {
      double bytes = 0;
      for (size_t l = 0; l < timed.size(); ++l)
        if (timed[l].bucket == static_cast<int64_t>(b))
          bytes += timed[l].wire_bytes[static_cast<size_t>(choice[l])];
      costs[b] = bucket(bytes, work_of(static_cast<int64_t>(b), choice));
    }
    const StepModel& s = step.step;
    return predict(s, costs, step.link).seconds - s.forward - s.backward - s.apply;
  }

  std::vector<Work> work_of(int64_t bucket, const Choices& choice) const {
    std::vector<Work> items(3);
    for (size_t l = 0; l < timed.size(); ++l)
      if (timed[l].bucket == bucket)
        for (size_t i = 0; i < items.size(); ++i)
          items[i] = items[i] + static_cast<double>(timed[l].elements) *
                                    step.work[static_cast<size_t>(choice[l])][i];
    return items;
  }

  static BucketCost bucket(double bytes, const std::vector<Work>& work) {
    const Transfer half{1, std::llround(bytes / 2)};
    return {.rounds = {{work[0], half}, {work[1], half}}, .finish = work[2]};
  }

  // Buckets as the references have them.
  void finish(size_t buckets) {
    Choices reference;
    for (const AllocationSegment& s : segments) reference.push_back(s.reference);
    for (size_t b = 0; b < buckets; ++b) {
      double bytes = 0;
      for (const size_t l : members(static_cast<int64_t>(b)))
        bytes += timed[l].wire_bytes[static_cast<size_t>(reference[l])];
      step.uniform.push_back(bucket(bytes, work_of(static_cast<int64_t>(b), reference)));
    }
  }

  std::vector<size_t> members(int64_t bucket) const {
    std::vector<size_t> all;
    for (size_t l = 0; l < timed.size(); ++l)
      if (timed[l].bucket == bucket) all.push_back(l);
    return all;
  }
};

// Segments of a megabyte per parameter 1, 2, 4 and 8 (whole), one a bucket, and a backward of 1 s.
Example four_buckets(double bytes_per_second) {
  Example e;
  e.step.step = {.forward = 0.5,
                 .backward = 1,
                 .ready = {0.25, 0.5, 0.75, 1},
                 .apply = 0.1,
                 .cores = 2,
                 .ranks = 2};
  e.step.link = {.latency = 1e-4, .bytes_per_second = bytes_per_second};
  e.step.work.assign(4, std::vector<Work>(3, Work{1e-10, 1e-10}));
  for (int64_t b = 0; b < 4; ++b) {
    e.timed.push_back({b, 1 << 20, {1e6, 2e6, 4e6, 8e6}});
    e.segments.push_back({{{1, 0, 9}, {2, 0, 6}, {4, 0, 3}, {8, 0, 0}}, 1, -1});
  }
  e.finish(4);
  return e;
}

double bytes_of(const Example& e, const Choices& choice) {
  double bytes = 0;
  for (size_t l = 0; l < choice.size(); ++l)
    bytes += e.timed[l].wire_bytes[static_cast<size_t>(choice[l])];
  return bytes;
}

AllocationResult by_bytes(const Example& e) {
  std::vector<AllocationSegment> segments = e.segments;
  for (size_t l = 0; l < segments.size(); ++l)
    for (size_t c = 0; c < segments[l].choices.size(); ++c)
      segments[l].choices[c].cost = e.timed[l].wire_bytes[c];
  return solve_allocation(segments);
}

// On a slow link all that is sent is waited for: no allocation sends less.
TEST(AllocateByTime, ASlowLinkCountsBytes) {
  Example e = four_buckets(1e6);
  for (size_t l = 0; l < 4; ++l)
    for (Choice& c : e.segments[l].choices) c.error *= static_cast<double>(1 + l * l);
  const AllocationResult fewest = by_bytes(e);
  EXPECT_LT(fewest.cost, 0.9 * fewest.reference_cost);
  EXPECT_EQ(bytes_of(e, e.solve().result.choice), fewest.cost);
}

// 8 MB in a quarter of a second: whatever is ready before backward's end hides, so it goes whole,
// and the last bucket, which is waited for, gets all of the budget.
TEST(AllocateByTime, WhatIsHiddenGoesWhole) {
  const Example e = four_buckets(6e7);
  const TimedAllocation t = e.solve();
  EXPECT_EQ(t.result.choice[3], 0);
  EXPECT_EQ(t.result.choice[0], 3);
  EXPECT_LT(t.result.cost, 0.7 * t.result.reference_cost);
  EXPECT_TRUE(t.result.switches);
  EXPECT_DOUBLE_EQ(t.computing, 1.6);
  EXPECT_NE(by_bytes(e).choice, t.result.choice);
}

// Nothing is sent: the cheapest codec within the budget.
TEST(AllocateByTime, OneRankSavesComputing) {
  Example e = four_buckets(1e7);
  e.step.step.ranks = 1;
  for (TimedSegment& t : e.timed) std::fill(t.wire_bytes.begin(), t.wire_bytes.end(), 0.0);
  e.step.work[3].assign(3, Work{1e-12, 1e-12});
  e.step.uniform.clear();
  e.finish(4);
  EXPECT_THAT(e.solve().result.choice, ElementsAre(3, 3, 3, 3));
}

Example random_example(uint64_t seed) {
  Random random(seed);
  Example e;
  const int64_t buckets = 1 + random.below(4), choices = 2 + random.below(3);
  e.step.step = {.forward = random.uniform(),
                 .backward = 2 * random.uniform(),
                 .ready = {},
                 .apply = random.uniform(),
                 .cores = 1 + random.below(4),
                 .ranks = 2};
  for (int64_t b = 0; b < buckets; ++b)
    e.step.step.ready.push_back(e.step.step.backward * static_cast<double>(b + 1) /
                                static_cast<double>(buckets));
  e.step.link = {.latency = 1e-3 * random.uniform(),
                 .bytes_per_second = std::pow(10.0, 5 + 4 * random.uniform())};
  for (int64_t c = 0; c < choices; ++c) {
    e.step.work.emplace_back();
    for (int i = 0; i < 3; ++i) {
      const double work = 1e-7 * random.uniform();
      e.step.work.back().push_back({work, work / 2});
    }
  }
  const int64_t size = buckets + random.below(5);
  const int64_t reference = random.below(choices);
  for (int64_t l = 0; l < size; ++l) {
    TimedSegment t{std::min(l, buckets - 1), 1000 + random.below(1000000), {}};
    AllocationSegment s{{}, reference, random.below(2) == 0 ? -1 : random.below(choices)};
    const double scale = 1 + 100 * random.uniform();
    for (int64_t c = 0; c < choices; ++c) {
      t.wire_bytes.push_back(static_cast<double>(t.elements * (c + 1)) * (0.5 + random.uniform()));
      s.choices.push_back({static_cast<double>(c), 0, scale / static_cast<double>(1 + c)});
    }
    e.timed.push_back(std::move(t));
    e.segments.push_back(std::move(s));
  }
  e.finish(static_cast<size_t>(buckets));
  return e;
}

struct Everything {
  const Example& e;
  BudgetRule rule;
  double budget;
  double best = std::numeric_limits<double>::infinity();
  Choices choice{};

  void look(double error = 0) {
    if (error > budget) return;
    const size_t l = choice.size();
    if (l == e.segments.size()) {
      best = std::min(best, e.seconds(choice));
      return;
    }
    for (size_t c = 0; c < e.segments[l].choices.size(); ++c) {
      choice.push_back(static_cast<int64_t>(c));
      look(error + term(e.segments[l].choices[c], rule));
      choice.pop_back();
    }
  }
};

// Within the budget and never longer than the uniform choice, always; and against the shortest step
// of all allocations, on random problems, the shortest step itself in most and close in all.
TEST(AllocateByTime, AgainstEveryAllocation) {
  int exact = 0;
  double worst = 0;
  constexpr int kExamples = 300;
  for (uint64_t seed = 1; seed <= kExamples; ++seed) {
    const Example e = random_example(seed);
    const BudgetRule rule = seed % 2 == 0 ? BudgetRule::norms : BudgetRule::squares;
    const TimedAllocation t = e.solve({.rule = rule});
    const Choices uniform = references(e.segments);
    const double budget = total_error(e.segments, uniform, rule);
    const double error = total_error(e.segments, t.result.choice, rule);
    EXPECT_LE(error, budget) << seed;
    EXPECT_DOUBLE_EQ(t.result.error, error);
    EXPECT_DOUBLE_EQ(t.result.budget, budget);
    // A byte's rounding on a link of 1e5 bytes a second, each bucket and round.
    EXPECT_NEAR(t.result.cost, e.seconds(t.result.choice), 1e-4) << seed;
    EXPECT_NEAR(t.result.reference_cost, e.seconds(uniform), 1e-4) << seed;
    EXPECT_LE(t.result.cost, t.result.reference_cost) << seed;
    Everything all{e, rule, budget};
    all.look();
    const double behind = (t.result.cost - all.best) / (all.best + t.computing);
    EXPECT_GT(behind, -1e-4) << seed;
    exact += behind < 1e-4;
    worst = std::max(worst, behind);
  }
  EXPECT_GE(exact, 0.97 * kExamples);
  EXPECT_LT(worst, 0.01);
}

TEST(AllocateByTime, ASegmentThatIsNotFiniteKeepsItsReference) {
  Example e = four_buckets(6e7);
  for (Choice& c : e.segments[0].choices) c.error = std::numeric_limits<double>::infinity();
  EXPECT_EQ(e.solve().result.choice[0], 1);
}

// What is in use and good enough stays; what has left the budget does not.
TEST(AllocateByTime, Hysteresis) {
  Example e = four_buckets(6e7);
  const Choices best = e.solve().result.choice;
  for (size_t l = 0; l < 4; ++l) e.segments[l].current = best[l];
  EXPECT_FALSE(e.solve().result.switches);
  e.segments[3].current = best[3];
  for (size_t l = 0; l < 3; ++l) e.segments[l].current = 0;
  EXPECT_TRUE(e.solve().result.switches);
}

TEST(AllocateByTime, RefusesWhatDoesNotFit) {
  Example e = four_buckets(1e7);
  e.timed.pop_back();
  EXPECT_THROW(e.solve(), std::logic_error);
  e = four_buckets(1e7);
  e.step.work.pop_back();
  EXPECT_THROW(e.solve(), std::logic_error);
  e = four_buckets(1e7);
  e.timed[0].bucket = 4;
  EXPECT_THROW(e.solve(), std::logic_error);
}

}  // namespace
}  // namespace terse::testing
