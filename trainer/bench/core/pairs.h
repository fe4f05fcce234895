// Measuring against a baseline: the two take turns, so that what else the machine does meets both,
// and the ratio is the median over pairs.
#pragma once
#include <functional>
#include <vector>

namespace terse {

// The upper of the two in the middle where the number of values is even; at least one value.
double median(std::vector<double> values);

// Wall time of one call.
double wall_seconds(const std::function<void()>& work);

struct PairedTime {
  double seconds = 0;  // median of `work`
  double ratio = 0;    // median over pairs of work / baseline
};

// Runs each once unmeasured (pages, caches, threads), then `pairs` >= 1 pairs.
PairedTime measure_pairs(const std::function<void()>& baseline, const std::function<void()>& work,
                         int pairs);

}  // namespace terse
