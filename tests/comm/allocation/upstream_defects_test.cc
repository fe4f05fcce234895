// Each defect of the published implementation (LGrCo/L-GreCo at 13942f0d) as a problem that ours
// must solve. What upstream does there was seen by running its code (tests/peers/lgreco_dp.py).
#include <gtest/gtest.h>

#include "comm/allocation/allocation.h"
#include "tests/comm/allocation/tables.h"

namespace terse::testing {
namespace {

// A range of ranks of one element, beta = gamma = 1: upstream's table stays infinite, its answer is
// -1 for every layer (rank min_rank - 1), and nothing notices.
TEST(UpstreamDefects, ASingleChoiceIsTheAnswer) {
  const std::vector<AllocationSegment> segments(7, {{{4, 100, 1.0 / 3}}, 0, -1});
  const AllocationResult r = solve_allocation(segments);
  EXPECT_TRUE(r.within_budget);
  EXPECT_EQ(r.choice, std::vector<int64_t>(7, 0));
}

// Rounding up takes up to a part a layer more than the budget has, so that upstream cannot choose
// the uniform parameter itself, and pays for a finer one where nothing else fits.
TEST(UpstreamDefects, RoundingUpDoesNotExcludeTheReference) {
  std::vector<AllocationSegment> segments;
  for (int l = 0; l < 150; ++l)
    segments.push_back({{{2, 10, 500}, {4, 20, 1 + 0.001 * l}, {8, 40, 0.9}}, 1, -1});
  const AllocationResult r = solve_allocation(segments);
  EXPECT_EQ(r.choice, references(segments));
  EXPECT_EQ(r.cost, r.reference_cost);
}

// np.nan_to_num's answer is thrown away, and a NaN ends in an index: upstream crashes.
TEST(UpstreamDefects, NaNIsAChoiceThatIsNotTaken) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<AllocationSegment> segments(3,
                                                {{{2, 10, nan}, {4, 20, 1}, {8, 40, nan}}, 1, -1});
  EXPECT_EQ(solve_allocation(segments).choice, references(segments));
}

// Upstream has no dense choice: rank 8 of a 6 x 9 matrix sends 120 numbers where the matrix has 54.
TEST(UpstreamDefects, NothingCostsMoreThanDense) {
  const AllocationSegment small{{{4, 60, 3}, {8, 120, 1}, {0, 54, 0}}, 1, -1};
  const AllocationSegment large{{{4, 4000, 9}, {8, 8000, 8}, {0, 99999, 0}}, 1, -1};
  const AllocationResult r = solve_allocation(std::vector{small, large});
  EXPECT_EQ(r.choice[0], 2);
  EXPECT_EQ(r.choice[1], 0);  // with what dense has freed of the budget
}

// Every choice takes at least one of upstream's parts, even one without an error: with more layers
// than parts nothing is feasible.
TEST(UpstreamDefects, NoErrorTakesNoBudget) {
  std::vector<AllocationSegment> segments(60, {{{4, 10, 0}}, 0, -1});
  segments.push_back({{{2, 10, 1}, {4, 20, 1}}, 1, -1});
  const AllocationResult r = solve_allocation(segments, {.bins = 50});
  EXPECT_EQ(r.cost, 610);
}

}  // namespace
}  // namespace terse::testing
