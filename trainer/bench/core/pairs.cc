#include "trainer/bench/core/pairs.h"

#include <algorithm>
#include <chrono>

namespace terse {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double wall_seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

PairedTime measure_pairs(const std::function<void()>& baseline, const std::function<void()>& work,
                         int pairs) {
  baseline(), work();
  std::vector<double> times, ratios;
  for (int pair = 0; pair < pairs; ++pair) {
    const double base = wall_seconds(baseline);
    times.push_back(wall_seconds(work));
    ratios.push_back(times.back() / base);
  }
  return {median(times), median(ratios)};
}

}  // namespace terse
