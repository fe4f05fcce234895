// Decider: what an exchange that chooses while running asks of the Reducer.
//
//   after every committed step   observe(times)
//   before every vote            due(step): rank 0's answer travels in the vote, so that all ranks
//   at that step's commit        decide(times, first_step), collective: measures, lets rank 0
//   choose
//                                and broadcasts its choice, which holds from `first_step` on
//
// The vote announces the decision and a broadcast carries it: its size may depend on the plan, and
// rank 0 may look whenever it sees reason to. A skipped step decides nothing; due() is asked again.
#pragma once
#include <cstdint>
#include <vector>

namespace terse {

// Seconds on this rank's clock.
struct StepTimes {
  int64_t step = 0;
  bool quiet = false;         // nothing was exchanged while backward ran
  double forward = 0;         // begin() to last_micro_batch()
  double backward = 0;        // last_micro_batch() to finish()
  std::vector<double> ready;  // by bucket, since last_micro_batch(); without a gradient: backward
  double exposed = 0;         // finish() to the end of the vote
  double apply = 0;           // optimizer and weights

  double total() const { return forward + backward + exposed + apply; }
};

class Decider {
 public:
  virtual ~Decider() = default;
  // This step shall not exchange before backward has ended, so that its times are those of the
  // computation alone. May differ between ranks.
  virtual bool quiet(int64_t step) const = 0;
  virtual bool due(int64_t step) const = 0;
  virtual void observe(const StepTimes& times) = 0;
  virtual void decide(int64_t first_step) = 0;
  // Whether any bucket is compressed as decided so far: while none is, an optimizer that has not
  // begun to compress does not begin (Optimizer::allow_compression).
  virtual bool compresses() const = 0;
};

}  // namespace terse
