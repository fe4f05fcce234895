// L-GreCo by time: a parameter for each segment so that all lose no more than the uniform parameter
// would (comm/allocation/allocation.h) and the predicted step (comm/plan/predict.h) is shortest.
//
// A step's length is no sum over segments: bytes that hide behind backward are free until too many
// do. So the dynamic programme solves a linear problem several times,
//
//   cost[l][c] = w bytes[l][c] / speed + elements codec seconds[c]       (comm/allocation/costs.h)
//   w          = max(exposure of the segment's bucket, t)                (exposures())
//
// first with exposures under the uniform parameter, then under the best answer so far, each for
// prices t from 0 (what is hidden costs nothing) to 1 (as by bytes). Every answer is simulated as a
// whole, and at last each segment tries its other choices. The shortest step wins.
//
// Guarantees: within the budget, and predicted no longer than with the uniform parameter, which is
// one of the answers (alpha >= 1). Same input, same answer on every processor: what ranks pass must
// be the same numbers. Pure function, thread-safe, free of torch. Cost: about twelve solutions and
// one simulation for every choice of every segment: 0.1 s for 150 segments of 10 choices.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/allocation/allocation.h"
#include "comm/plan/predict.h"

namespace terse {

struct TimedSegment {
  int64_t bucket = 0;
  int64_t elements = 0;
  std::vector<double> wire_bytes;  // by choice: what a rank sends of it, all rounds together
};

// What the prediction rests on.
struct TimedStep {
  StepModel step;
  Link link;
  std::vector<BucketCost> uniform;      // every segment with its reference
  std::vector<std::vector<Work>> work;  // [choice][round 0 .. R - 1, finish]: of an element
};

struct TimedAllocation {
  // Costs are seconds that the exchange adds to a step; `switches` weighs these.
  AllocationResult result;
  double computing = 0;  // seconds of the step without the exchange
};

// segments[l] and timed[l] are one; the costs in `segments` are not read. All have the same choices
// in the same order. std::logic_error for sizes that do not fit.
TimedAllocation allocate_by_time(const TimedStep& step, std::span<const TimedSegment> timed,
                                 std::span<const AllocationSegment> segments,
                                 const AllocationOptions& options = {});

}  // namespace terse
