// Allocation: which codec parameter each segment gets, so that all segments together cost least
// while their compression errors together stay within those of a uniform parameter (L-GreCo,
// Markov, Alimohammadi, Frantar and Alistarh, arXiv:2210.17357).
//
//   minimise   sum_l cost[l][c_l]
//   subject to sum_l t(error[l][c_l]) <= budget = alpha sum_l t(error[l][reference_l])
//
// with t(e) = e (the paper's sum of norms) or t(e) = e^2 (errors of different segments are
// orthogonal, so this is the squared error of the whole gradient). A multiple-choice knapsack,
// solved by dynamic programming over the budget cut into `bins` parts of size d: choice c of
// segment l takes ceil(t / d) parts, 0 if t = 0, and every number of parts up to bins + L is looked
// at, so that rounding up never excludes the reference. What is returned has been summed again
// without rounding. With B the budget and L segments, its cost is at most that of the best
// allocation whose errors sum to (1 - L / bins) B.
//
//   AllocationResult r = solve_allocation(segments, {.rule = BudgetRule::squares});
//   if (r.switches) use(r.choice);
//
// Guarantees: with alpha >= 1 the errors never exceed the budget and the cost never exceeds the
// reference's. Same input, same answer, on every instruction set: on equal costs the smaller error
// wins, then the lower index. A choice whose error or cost is NaN or infinite is never taken. A
// segment whose *reference* is such (a gradient that was not finite) keeps its reference and
// takes no part in the budget.
//
// Cost: O(L bins C) for C choices a segment, about 2 ms for 150 segments of 10 choices on one core;
// memory 8 (L + 1) (bins + L) bytes. Pure functions, thread-safe. Free of torch.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace terse {

struct Choice {
  double parameter = 0;  // rank, bits or density; the solver does not look at it
  double cost = 0;       // bytes or seconds (comm/allocation/costs.h), >= 0
  double error = 0;      // |G - C(G)|_2 of the segment (comm/allocation/error_tables.h), >= 0
};

// `choices` should hold "dense": error 0 and its true cost. A choice that costs more than dense is
// then never taken, not even if it is the reference.
struct AllocationSegment {
  std::vector<Choice> choices;
  int64_t reference = 0;  // index of the uniform choice
  int64_t current = -1;   // index of the choice in use; -1: the reference
};

enum class BudgetRule { norms, squares };

struct AllocationOptions {
  BudgetRule rule = BudgetRule::norms;
  double alpha = 1;          // > 0
  int64_t bins = 10000;      // > 0
  double hysteresis = 0.05;  // >= 0
};

struct AllocationResult {
  std::vector<int64_t> choice;  // index into each segment's choices
  double cost = 0;              // of `choice`
  double error = 0;             // of `choice`: sum of norms or of squared norms, as the rule says
  double budget = 0;            // in the unit of `error`
  double reference_cost = 0;
  double current_cost = 0;
  double current_error = 0;  // infinite if a current choice is unusable
  // False only if alpha < 1 and no allocation meets the budget; `choice` is the reference then.
  bool within_budget = true;
  // Worth a change: cost < (1 - hysteresis) current_cost, or the current choices have left the
  // budget: current_error > (1 + hysteresis) budget.
  bool switches = false;
};

// std::logic_error for a segment without choices, an index outside them, a negative cost or error,
// or options outside their range.
AllocationResult solve_allocation(std::span<const AllocationSegment> segments,
                                  const AllocationOptions& options = {});

}  // namespace terse
