// The allocation against trying everything and against a bound from linear programming; its rules.
#include "comm/allocation/allocation.h"

#include <gtest/gtest.h>

#include "tests/comm/allocation/tables.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinite = std::numeric_limits<double>::infinity();

// What allocation.h guarantees of every answer.
AllocationResult solve(const std::vector<AllocationSegment>& segments,
                       const AllocationOptions& options = {}) {
  AllocationResult r = solve_allocation(segments, options);
  const auto uniform = references(segments);
  EXPECT_EQ(r.cost, total_cost(segments, r.choice));
  EXPECT_EQ(r.error, total_error(segments, r.choice, options.rule));
  EXPECT_EQ(r.budget, options.alpha * total_error(segments, uniform, options.rule));
  EXPECT_EQ(r.reference_cost, total_cost(segments, uniform));
  if (options.alpha >= 1) {
    EXPECT_TRUE(r.within_budget);
    EXPECT_LE(r.error, r.budget);
    EXPECT_LE(r.cost, r.reference_cost);
  }
  return r;
}

TEST(Allocation, EqualsBruteForceOn1000RandomTables) {
  int64_t equal = 0;
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    Random random(seed);
    const auto segments = random_problem(seed, 1 + random.below(6), 5);
    const AllocationOptions options{.rule = seed % 2 == 0 ? BudgetRule::norms : BudgetRule::squares,
                                    .alpha = seed % 5 == 0 ? 1.25 : 1};
    const AllocationResult r = solve(segments, options);
    const double best = cheapest(segments, options.rule, r.budget);
    // The tolerance that allocation.h states: rounding up takes less than a part a segment.
    const double less = 1 - static_cast<double>(segments.size()) / 10000;
    ASSERT_GE(r.cost, best) << seed;
    ASSERT_LE(r.cost, cheapest(segments, options.rule, less * r.budget)) << seed;
    if (r.cost == best) ++equal;
  }
  // Hardly ever an allocation lies in that small difference.
  EXPECT_GE(equal, 995);
}

TEST(Allocation, FewBinsStayWithinBudgetAndTolerance) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const auto segments = random_problem(seed, 6, 5);
    const AllocationOptions options{.bins = 20};
    const AllocationResult r = solve(segments, options);
    ASSERT_GE(r.cost, cheapest(segments, options.rule, r.budget)) << seed;
    ASSERT_LE(r.cost, cheapest(segments, options.rule, (1 - 6.0 / 20) * r.budget)) << seed;
  }
}

// The linear relaxation: start at each segment's cheapest choice, buy the flattest pieces of the
// lower convex hulls until the budget is met. Only the last piece is taken in part.
struct Relaxation {
  double bound = 0;  // no allocation costs less
  double piece = 0;  // taking the last piece whole costs this much more
};

struct Step {
  double error = 0;  // less
  double cost = 0;   // more
  double slope() const { return cost / error; }
};

void hull_steps(const AllocationSegment& segment, double& cost, double& error,
                std::vector<Step>& steps) {
  const Choice* at = &*std::min_element(
      segment.choices.begin(), segment.choices.end(), [](const Choice& a, const Choice& b) {
        return std::pair(a.cost, a.error) < std::pair(b.cost, b.error);
      });
  cost += at->cost, error += at->error;
  while (true) {
    const Choice* next = nullptr;
    for (const Choice& c : segment.choices)
      if (c.error < at->error &&
          (next == nullptr || (c.cost - at->cost) * (at->error - next->error) <
                                  (next->cost - at->cost) * (at->error - c.error)))
        next = &c;
    if (next == nullptr) return;
    steps.push_back({at->error - next->error, next->cost - at->cost});
    at = next;
  }
}

Relaxation relax(const std::vector<AllocationSegment>& segments, double budget) {
  Relaxation r;
  double error = 0;
  std::vector<Step> steps;
  for (const AllocationSegment& s : segments) hull_steps(s, r.bound, error, steps);
  std::sort(steps.begin(), steps.end(),
            [](const Step& a, const Step& b) { return a.slope() < b.slope(); });
  for (size_t i = 0; error > budget; ++i) {
    const double part = std::min(1.0, (error - budget) / steps.at(i).error);
    r.bound += part * steps[i].cost;
    r.piece = (1 - part) * steps[i].cost;
    error -= steps[i].error;
  }
  return r;
}

TEST(Allocation, LargeProblemsMeetTheLinearBound) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Random random(seed);
    std::vector<AllocationSegment> segments;
    for (int64_t l = 0; l < 150; ++l) segments.push_back(random_segment(random, 10, Kind::falling));
    const AllocationResult r = solve(segments);
    const Relaxation best = relax(segments, r.budget);
    const Relaxation less = relax(segments, (1 - 150.0 / 10000) * r.budget);
    ASSERT_GE(r.cost, best.bound * (1 - 1e-12)) << seed;  // the bound's own rounding
    ASSERT_LE(r.cost, less.bound + less.piece) << seed;
    EXPECT_LT(r.cost, r.reference_cost) << seed;
    // Of that 1.5 % hardly anything is lost: half a part a segment comes back by looking beyond
    // the bins.
    EXPECT_LE(r.cost, best.bound * 1.001 + best.piece) << seed;
  }
}

TEST(Allocation, SameAnswerEveryTimeAndOnEveryInstructionSet) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const auto segments = random_problem(seed, 40, 8);
    const AllocationResult first = solve(segments);
    for (const Isa set : supported()) {
      const WithIsa with(set);
      const AllocationResult again = solve(segments);
      ASSERT_EQ(again.choice, first.choice) << seed << isa_name(set);
      ASSERT_EQ(again.cost, first.cost);
      ASSERT_EQ(again.error, first.error);
    }
  }
}

TEST(Allocation, OnEqualCostsTheSmallerErrorThenTheLowerIndex) {
  // All cost the same; 1 and 3 have the smallest error.
  const AllocationSegment s{{{0, 5, 3}, {1, 5, 1}, {2, 5, 2}, {3, 5, 1}}, 0, -1};
  const AllocationResult r = solve({s, s, s});
  EXPECT_EQ(r.choice, (std::vector<int64_t>{1, 1, 1}));
  EXPECT_EQ(r.error, 3);
  EXPECT_FALSE(r.switches);
}

TEST(Allocation, ZeroGradientsTakeTheCheapestAndNothingIsNothing) {
  const AllocationSegment zero{{{4, 40, 0}, {1, 10, 0}, {2, 20, 0}}, 0, -1};
  EXPECT_EQ(solve({zero, zero}).choice, (std::vector<int64_t>{1, 1}));
  const AllocationResult none = solve({});
  EXPECT_TRUE(none.choice.empty());
  EXPECT_FALSE(none.switches);
}

TEST(Allocation, DenseMeansNoErrorAtItsTruePrice) {
  // Dense (index 2) of the small segment is cheap and frees budget for the large one.
  const AllocationSegment small{{{1, 10, 8}, {2, 20, 4}, {0, 24, 0}}, 1, -1};
  const AllocationSegment large{{{1, 1000, 9}, {2, 2000, 5}, {0, 9000, 0}}, 1, -1};
  const AllocationResult r = solve({small, large});
  EXPECT_EQ(r.choice, (std::vector<int64_t>{2, 0}));
  EXPECT_EQ(r.cost, 1024);
}

TEST(Allocation, AlphaScalesTheBudget) {
  const AllocationSegment s{{{1, 10, 4}, {2, 20, 2}, {3, 30, 1}}, 1, -1};
  EXPECT_EQ(solve({s, s}, {.alpha = 2}).choice, (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(solve({s, s}, {.alpha = 0.5}).choice, (std::vector<int64_t>{2, 2}));
  const AllocationResult r = solve({s, s}, {.alpha = 0.25});  // nothing is that exact
  EXPECT_FALSE(r.within_budget);
  EXPECT_EQ(r.choice, (std::vector<int64_t>{1, 1}));
}

TEST(Allocation, SwitchesForMoreThanTheHysteresisOnly) {
  const AllocationSegment changed{{{0, 100, 2}, {1, 94, 2}}, 0, -1};
  EXPECT_TRUE(solve({changed}).switches);  // 6 % less
  EXPECT_FALSE(solve({changed}, {.hysteresis = 0.07}).switches);
  AllocationSegment there = changed;
  there.current = 1;
  EXPECT_FALSE(solve({there}, {.hysteresis = 0}).switches);
  // The choice in use has become too coarse: the answer costs more, and is needed all the same.
  const AllocationSegment coarse{{{0, 100, 2}, {1, 50, 3}}, 0, 1};
  const AllocationResult r = solve({coarse});
  EXPECT_EQ(r.choice, std::vector<int64_t>{0});
  EXPECT_TRUE(r.switches);
  EXPECT_FALSE(solve({coarse}, {.hysteresis = 0.5}).switches);
}

TEST(Allocation, RefusesWhatIsNoProblem) {
  const Choice fine{1, 1, 1};
  const auto refused = [](AllocationSegment s, const AllocationOptions& options = {}) {
    EXPECT_THROW(solve_allocation(std::vector{std::move(s)}, options), std::logic_error);
  };
  refused({{}, 0, -1});
  refused({{fine}, 1, -1});
  refused({{fine}, 0, 1});
  refused({{{1, -1, 1}}, 0, -1});
  refused({{{1, 1, -1}}, 0, -1});
  refused({{{1, kNaN, 1}}, 0, -1});
  refused({{fine}, 0, -1}, {.alpha = 0});
  refused({{fine}, 0, -1}, {.bins = 0});
  refused({{fine}, 0, -1}, {.hysteresis = -1});
}

TEST(Allocation, UnusableChoicesAreNeverTaken) {
  const AllocationSegment s{
      {{1, 1, kNaN}, {2, 2, kInfinite}, {3, kNaN, 0}, {4, 40, 1}, {5, 30, 1}}, 3, -1};
  EXPECT_EQ(solve({s}).choice, std::vector<int64_t>{4});
}

TEST(Allocation, ASegmentThatWasNotFiniteKeepsItsReference) {
  const AllocationSegment lost{{{1, 1, kNaN}, {2, 2, kNaN}, {0, 9, 0}}, 1, -1};
  const AllocationSegment other{{{1, 10, 2}, {2, 20, 1}}, 1, -1};
  const AllocationResult r = solve_allocation(std::vector{lost, other, other});
  EXPECT_EQ(r.choice, (std::vector<int64_t>{1, 1, 1}));
  EXPECT_EQ(r.budget, 2);
  EXPECT_EQ(r.error, 2);
}

}  // namespace
}  // namespace terse::testing
