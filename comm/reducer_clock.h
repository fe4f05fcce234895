// The Reducer's stopwatch: when a step's parts ended, for decisions while running (comm/decider.h).
#pragma once
#include <chrono>
#include <cstdint>

#include "comm/decider.h"

namespace terse {

// Call in the order of declaration. ready() comes from the thread that runs backward, all others
// from the Reducer's own.
class ReducerClock {
 public:
  void begin(int64_t step);
  void backward(int64_t buckets, bool quiet);
  void ready(int64_t bucket);
  void finish();
  void voted();
  // All was applied. Without backward(): zeros for what was not timed.
  const StepTimes& applied();

  double exposed() const { return times_.exposed; }  // as of voted()

 private:
  using Clock = std::chrono::steady_clock;
  double lap();  // since the last mark, and marks

  Clock::time_point mark_;
  StepTimes times_;
};

}  // namespace terse
