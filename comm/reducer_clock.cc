#include "comm/reducer_clock.h"

namespace terse {

double ReducerClock::lap() {
  const Clock::time_point now = Clock::now();
  const std::chrono::duration<double> passed = now - std::exchange(mark_, now);
  return passed.count();
}

void ReducerClock::begin(int64_t step) {
  times_ = {.step = step, .ready = std::move(times_.ready)};
  times_.ready.clear();
  mark_ = Clock::now();
}

void ReducerClock::backward(int64_t buckets, bool quiet) {
  times_.quiet = quiet;
  times_.forward = lap();
  times_.ready.assign(static_cast<size_t>(buckets), -1);
}

void ReducerClock::ready(int64_t bucket) {
  times_.ready[static_cast<size_t>(bucket)] =
      std::chrono::duration<double>(Clock::now() - mark_).count();
}

void ReducerClock::finish() {
  times_.backward = lap();
  for (double& at : times_.ready)
    if (at < 0) at = times_.backward;
}

void ReducerClock::voted() {
  times_.exposed = lap();
}

const StepTimes& ReducerClock::applied() {
  times_.apply = lap();
  return times_;
}

}  // namespace terse
