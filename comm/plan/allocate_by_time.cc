#include "comm/plan/allocate_by_time.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "comm/allocation/costs.h"

namespace terse {
namespace {

using Choices = std::vector<int64_t>;

constexpr double kPrices[] = {0, 1.0 / 16, 1.0 / 8, 1.0 / 4, 1.0 / 2, 1};
constexpr int kMostSweeps = 4;

double sum_of(const std::vector<Work>& items, double exposure, double cores) {
  double seconds = 0;
  for (const Work& w : items) seconds += exposure * w.team + (1 - exposure) * w.alone / cores;
  return seconds;
}

class Problem {
 public:
  Problem(const TimedStep& step, std::span<const TimedSegment> timed,
          std::span<const AllocationSegment> segments, const AllocationOptions& options)
      : step_(step), timed_(timed), segments_(segments), options_(options) {
    TERSE_CHECK(timed.size() == segments.size(), "{} segments, times of {}", segments.size(),
                timed.size());
    for (size_t l = 0; l < segments.size(); ++l) check(l);
  }

  size_t size() const { return segments_.size(); }
  const AllocationSegment& segment(size_t l) const { return segments_[l]; }
  double computing() const { return step_.step.forward + step_.step.backward + step_.step.apply; }

  std::vector<BucketCost> costs(const Choices& choice) const {
    std::vector<BucketCost> all = step_.uniform;
    std::vector<double> more(all.size(), 0.0);
    for (size_t l = 0; l < size(); ++l) {
      const TimedSegment& t = timed_[l];
      const auto now = static_cast<size_t>(choice[l]);
      const auto reference = static_cast<size_t>(segments_[l].reference);
      more[static_cast<size_t>(t.bucket)] += t.wire_bytes[now] - t.wire_bytes[reference];
      add_work(all[static_cast<size_t>(t.bucket)], static_cast<double>(t.elements), now, reference);
    }
    for (size_t b = 0; b < all.size(); ++b) stretch(all[b], more[b]);
    return all;
  }
  // That the exchange adds to a step.
  double seconds(const Choices& choice) const {
    return predict(step_.step, costs(choice), step_.link).seconds - computing();
  }
  std::vector<double> exposed(const Choices& choice) const {
    return exposures(step_.step, costs(choice), step_.link);
  }

  // By bucket, what a second of the wire costs.
  AllocationResult solve(const std::vector<double>& prices) const {
    const TimeModel wire{.latency = 0, .bytes_per_second = 1 / seconds_per_byte(step_.link)};
    const auto cores = static_cast<double>(step_.step.cores);
    std::vector<AllocationSegment> linear(segments_.begin(), segments_.end());
    for (size_t l = 0; l < size(); ++l) {
      const double price = prices[static_cast<size_t>(timed_[l].bucket)];
      for (size_t c = 0; c < linear[l].choices.size(); ++c)
        linear[l].choices[c].cost =
            segment_seconds(wire, timed_[l].wire_bytes[c], timed_[l].elements,
                            sum_of(step_.work[c], price, cores), price);
    }
    return solve_allocation(linear, options_);
  }

  double term(size_t l, int64_t choice) const {
    const double e = segments_[l].choices[static_cast<size_t>(choice)].error;
    return options_.rule == BudgetRule::norms ? e : e * e;
  }
  // As the budget counts: without segments whose gradient was not finite.
  double error(const Choices& choice) const {
    double sum = 0;
    for (size_t l = 0; l < size(); ++l)
      if (std::isfinite(term(l, segments_[l].reference))) sum += term(l, choice[l]);
    return sum;
  }

 private:
  void check(size_t l) const {
    const size_t choices = segments_[l].choices.size();
    TERSE_CHECK(choices <= step_.work.size() && timed_[l].wire_bytes.size() >= choices,
                "segment {}: {} choices, times of {}", l, choices, step_.work.size());
    const auto bucket = static_cast<size_t>(timed_[l].bucket);
    TERSE_CHECK(bucket < step_.uniform.size(), "segment {} of bucket {}", l, bucket);
    for (const auto& items : step_.work)
      TERSE_CHECK(items.size() == step_.uniform[bucket].rounds.size() + 1, "{} items of {} rounds",
                  items.size(), step_.uniform[bucket].rounds.size());
  }

  void add_work(BucketCost& bucket, double elements, size_t now, size_t reference) const {
    const auto& added = step_.work[now];
    const auto& taken = step_.work[reference];
    const auto change = [&](Work& w, size_t item) {
      w.alone = std::max(0.0, w.alone + elements * (added[item].alone - taken[item].alone));
      w.team = std::max(0.0, w.team + elements * (added[item].team - taken[item].team));
    };
    for (size_t r = 0; r < bucket.rounds.size(); ++r) change(bucket.rounds[r].work, r);
    change(bucket.finish, bucket.rounds.size());
  }

  // Rounds keep their shares.
  static void stretch(BucketCost& bucket, double more) {
    const auto before = static_cast<double>(bucket.wire_bytes());
    if (before <= 0) return;
    const double factor = std::max(0.0, 1 + more / before);
    for (RoundCost& round : bucket.rounds)
      round.transfer.bytes = std::llround(factor * static_cast<double>(round.transfer.bytes));
  }

  const TimedStep& step_;
  std::span<const TimedSegment> timed_;
  std::span<const AllocationSegment> segments_;
  const AllocationOptions& options_;
};

// The shortest step of all that were looked at.
class Best {
 public:
  Best(const Problem& problem, Choices first)
      : problem_(problem), choice_(std::move(first)), seconds_(problem.seconds(choice_)) {}

  const Choices& choice() const { return choice_; }
  double seconds() const { return seconds_; }

  bool offer(const Choices& choice) {
    if (choice == choice_) return false;
    const double seconds = problem_.seconds(choice);
    if (!(seconds < seconds_)) return false;
    choice_ = choice;
    seconds_ = seconds;
    return true;
  }

  void try_prices(const std::vector<double>& exposed) {
    for (const double least : kPrices) {
      std::vector<double> prices = exposed;
      for (double& price : prices) price = std::max(price, least);
      const AllocationResult found = problem_.solve(prices);
      if (found.within_budget) offer(found.choice);
    }
  }

  // One segment after the other, within `budget`.
  void polish(double budget) {
    bool again = true;
    for (int sweep = 0; again && sweep < kMostSweeps; ++sweep) {
      again = false;
      for (size_t l = 0; l < problem_.size(); ++l)
        for (size_t c = 0; c < problem_.segment(l).choices.size(); ++c)
          again = try_one(l, static_cast<int64_t>(c), budget) || again;
    }
  }

 private:
  bool try_one(size_t l, int64_t c, double budget) {
    const AllocationSegment& s = problem_.segment(l);
    // A segment that was not finite keeps its reference.
    if (!std::isfinite(problem_.term(l, s.reference)) || !std::isfinite(problem_.term(l, c)))
      return false;
    Choices other = choice_;
    other[l] = c;
    return problem_.error(other) <= budget && offer(other);
  }

  const Problem& problem_;
  Choices choice_;
  double seconds_;
};

}  // namespace

TimedAllocation allocate_by_time(const TimedStep& step, std::span<const TimedSegment> timed,
                                 std::span<const AllocationSegment> segments,
                                 const AllocationOptions& options) {
  const Problem problem(step, timed, segments, options);
  Choices reference, current;
  for (const AllocationSegment& s : segments) {
    reference.push_back(s.reference);
    current.push_back(s.current < 0 ? s.reference : s.current);
  }
  // Budget and errors are those of any prices.
  AllocationResult result = problem.solve(std::vector<double>(step.uniform.size(), 1.0));
  const bool fits = problem.error(reference) <= result.budget;
  Best best(problem, fits ? reference : result.choice);
  if (result.within_budget) {
    best.try_prices(problem.exposed(reference));
    best.try_prices(problem.exposed(best.choice()));
    best.polish(result.budget);
  }
  result.choice = best.choice();
  result.cost = best.seconds();
  result.error = problem.error(result.choice);
  result.reference_cost = problem.seconds(reference);
  result.current_cost = problem.seconds(current);
  result.switches =
      result.choice != current && (result.cost < (1 - options.hysteresis) * result.current_cost ||
                                   result.current_error > (1 + options.hysteresis) * result.budget);
  return {.result = std::move(result), .computing = problem.computing()};
}

}  // namespace terse
