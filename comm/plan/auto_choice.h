// Which exchange each bucket should use, by prediction (comm/plan/predict.h).
//
// Every candidate is predicted for all buckets alike; from the best one on, each bucket in turn
// tries the others, so that e.g. only buckets whose transfer backward does not hide are compressed.
// The mixture must promise `gain` of the step against the best uniform choice, and whatever is best
// `gain` against what is in use: predictions are not exact, and a change costs residuals a copy.
//
// O(candidates buckets^2 rounds). Pure functions, free of torch.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/plan/predict.h"

namespace terse {

struct AutoCandidate {
  std::string name;
  bool dense = false;
  std::vector<BucketCost> costs;  // by bucket
};

struct AutoChoice {
  std::vector<int64_t> choice;  // by bucket
  std::string reason;           // the numbers it rests on
};

// Of a step, a part.
inline constexpr double kAutoGain = 0.03;

AutoChoice choose_exchange(const StepModel& step, std::span<const AutoCandidate> candidates,
                           const Link& link, std::span<const int64_t> current,
                           double gain = kAutoGain);

}  // namespace terse
