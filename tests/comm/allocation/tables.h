// Random allocation problems, and their best solution by trying everything.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "comm/allocation/allocation.h"

namespace terse::testing {

// xorshift: no library's generator, so that a failing table can be made again anywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return state_ >> 11;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  double whole(int64_t n) { return static_cast<double>(below(n)); }
  double uniform() { return static_cast<double>(next()) * 0x1p-53; }

 private:
  uint64_t state_;
};

// The shapes that gradients give, and some that they should not.
enum class Kind : int64_t { falling, anything, plateaus, zeros, unusable, count };

inline Choice random_choice(Random& random, Kind kind, double rank, double size, double scale) {
  Choice c{rank, size * rank, 0};
  switch (kind) {
    case Kind::falling:
      c.error = scale / (rank + random.uniform());
      break;
    case Kind::anything:
      c.cost = random.whole(100000), c.error = scale * random.uniform();
      break;
    case Kind::plateaus:
      c.cost = random.whole(3), c.error = random.whole(3);
      break;
    case Kind::unusable:
      c.error = scale / rank;
      if (random.below(3) == 0) c.error = std::numeric_limits<double>::quiet_NaN();
      if (random.below(5) == 0) c.error = std::numeric_limits<double>::infinity();
      if (random.below(5) == 0) c.error = 0;
      break;
    default:
      break;
  }
  return c;
}

// The reference is always usable; one in three has a dense choice.
inline AllocationSegment random_segment(Random& random, int64_t choices, Kind kind) {
  AllocationSegment s;
  const double scale = 1 + 100 * random.uniform(), size = 1 + random.whole(100000);
  for (int64_t c = 1; c <= choices; ++c)
    s.choices.push_back(random_choice(random, kind, static_cast<double>(c), size, scale));
  s.reference = random.below(choices);
  double& reference = s.choices[static_cast<size_t>(s.reference)].error;
  if (!(reference < 1e300)) reference = scale;
  if (random.below(3) == 0) s.choices.push_back({0, size * 4, 0});
  return s;
}

inline std::vector<AllocationSegment> random_problem(uint64_t seed, int64_t segments,
                                                     int64_t choices) {
  Random random(seed);
  constexpr auto kKinds = static_cast<int64_t>(Kind::count);
  std::vector<AllocationSegment> all;
  const int64_t kind = random.below(kKinds + 1);  // the last: mixed
  for (int64_t l = 0; l < segments; ++l)
    all.push_back(random_segment(random, 1 + random.below(choices),
                                 static_cast<Kind>(kind == kKinds ? random.below(kKinds) : kind)));
  return all;
}

inline double term(const Choice& c, BudgetRule rule) {
  return rule == BudgetRule::norms ? c.error : c.error * c.error;
}

inline double total_error(std::span<const AllocationSegment> segments,
                          std::span<const int64_t> choice, BudgetRule rule) {
  double sum = 0;
  for (size_t l = 0; l < segments.size(); ++l)
    sum += term(segments[l].choices[static_cast<size_t>(choice[l])], rule);
  return sum;
}

inline double total_cost(std::span<const AllocationSegment> segments,
                         std::span<const int64_t> choice) {
  double sum = 0;
  for (size_t l = 0; l < segments.size(); ++l)
    sum += segments[l].choices[static_cast<size_t>(choice[l])].cost;
  return sum;
}

// The least cost of all allocations whose errors sum to at most `budget`, infinite if there is
// none.
inline double cheapest(std::span<const AllocationSegment> segments, BudgetRule rule, double budget,
                       size_t from = 0, double error = 0, double cost = 0) {
  if (!(error <= budget)) return std::numeric_limits<double>::infinity();
  if (from == segments.size()) return cost;
  double best = std::numeric_limits<double>::infinity();
  for (const Choice& c : segments[from].choices)
    best = std::min(
        best, cheapest(segments, rule, budget, from + 1, error + term(c, rule), cost + c.cost));
  return best;
}

inline std::vector<int64_t> references(std::span<const AllocationSegment> segments) {
  std::vector<int64_t> all;
  for (const AllocationSegment& s : segments) all.push_back(s.reference);
  return all;
}

}  // namespace terse::testing
