#include "comm/plan/auto_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace terse {
namespace {

constexpr size_t kMostMixed = 512;  // buckets; beyond, a mixture is not looked for
constexpr int kSweeps = 4;

class Predictor {
 public:
  Predictor(const StepModel& step, std::span<const AutoCandidate> candidates, const Link& link)
      : step_(step), candidates_(candidates), link_(link) {}

  StepPrediction operator()(std::span<const int64_t> choice) const {
    std::vector<BucketCost> costs;
    for (size_t b = 0; b < choice.size(); ++b)
      costs.push_back(candidates_[static_cast<size_t>(choice[b])].costs[b]);
    return predict(step_, costs, link_);
  }

 private:
  const StepModel& step_;
  std::span<const AutoCandidate> candidates_;
  const Link& link_;
};

struct Guess {
  std::vector<int64_t> choice;
  StepPrediction step;
};

Guess uniform(const Predictor& predictor, size_t buckets, int64_t candidate) {
  Guess guess{std::vector<int64_t>(buckets, candidate), {}};
  guess.step = predictor(guess.choice);
  return guess;
}

// Bucket by bucket whatever helps, from the last one on, which nothing comes after that could hide
// it. What is best for a bucket depends on the others, so again as long as something changes.
Guess mixed(const Predictor& predictor, Guess guess, int64_t candidates) {
  if (guess.choice.size() > kMostMixed) return guess;
  bool again = true;
  for (int sweep = 0; again && sweep < kSweeps; ++sweep) {
    again = false;
    for (size_t b = guess.choice.size(); b-- > 0;)
      for (int64_t c = 0; c < candidates; ++c) {
        if (c == guess.choice[b]) continue;
        Guess other = guess;
        other.choice[b] = c;
        other.step = predictor(other.choice);
        if (other.step.seconds >= guess.step.seconds) continue;
        guess = std::move(other);
        again = true;
      }
  }
  return guess;
}

std::string numbers(const std::string& name, const StepPrediction& step) {
  return fmt::format("{} {} ({} exposed)", name, duration_text(step.seconds),
                     duration_text(step.exposed));
}

// What the decision comes to, in words.
std::string verdict(bool changes, bool dense, const StepPrediction& now, const StepPrediction& best,
                    double gain) {
  const double faster = 1 - best.seconds / now.seconds;
  if (changes) return fmt::format("{:.1f} % faster", 100 * faster);
  const std::string margin = fmt::format("nothing else promises {:.0f} % of the step", 100 * gain);
  return dense ? "dense wins because " + margin : margin;
}

}  // namespace

AutoChoice choose_exchange(const StepModel& step, std::span<const AutoCandidate> candidates,
                           const Link& link, std::span<const int64_t> current, double gain) {
  TERSE_CHECK(!candidates.empty(), "no candidates");
  const Predictor predictor(step, candidates, link);
  const auto count = static_cast<int64_t>(candidates.size());
  std::string reason = "predicted a step: ";
  Guess best;
  for (int64_t c = 0; c < count; ++c) {
    Guess guess = uniform(predictor, current.size(), c);
    reason += (c == 0 ? "" : ", ") + numbers(candidates[static_cast<size_t>(c)].name, guess.step);
    if (c == 0 || guess.step.seconds < best.step.seconds) best = std::move(guess);
  }
  Guess mixture = mixed(predictor, best, count);
  if (mixture.choice != best.choice) reason += ", " + numbers("by bucket", mixture.step);
  if (mixture.step.seconds < (1 - gain) * best.step.seconds) best = std::move(mixture);
  const StepPrediction now = predictor(current);
  const bool changes = best.step.seconds < (1 - gain) * now.seconds;
  const bool dense = std::ranges::all_of(
      current, [&](int64_t c) { return candidates[static_cast<size_t>(c)].dense; });
  reason += fmt::format("; link {}, {}; computing {}", rate_text(link.bytes_per_second),
                        duration_text(link.latency),
                        duration_text(step.forward + step.backward + step.apply));
  return {changes ? std::move(best.choice) : std::vector<int64_t>(current.begin(), current.end()),
          verdict(changes, dense, now, best.step, gain) + "; " + reason};
}

}  // namespace terse
