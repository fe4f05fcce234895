#include "comm/plan/step_model.h"

#include <algorithm>

namespace terse {

StepTimes median(const std::vector<StepTimes>& times) {
  StepTimes typical;
  const auto of = [&](auto&& part) {
    std::vector<double> values;
    for (const StepTimes& t : times) values.push_back(part(t));
    if (values.empty()) return 0.0;
    const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  typical.forward = of([](const StepTimes& t) { return t.forward; });
  typical.backward = of([](const StepTimes& t) { return t.backward; });
  typical.exposed = of([](const StepTimes& t) { return t.exposed; });
  typical.apply = of([](const StepTimes& t) { return t.apply; });
  const size_t buckets = times.empty() ? 0 : times.front().ready.size();
  for (size_t b = 0; b < buckets; ++b)
    typical.ready.push_back(of([b](const StepTimes& t) { return t.ready.at(b); }));
  return typical;
}

StepModel step_model(const StepTimes& times, int64_t cores, int64_t ranks) {
  return {.forward = times.forward,
          .backward = times.backward,
          .ready = times.ready,
          .apply = times.apply,
          .cores = cores,
          .ranks = ranks};
}

}  // namespace terse
