// Predicts a training step: when buckets become ready, what each costs on its way through an
// exchange, and how much of it backward hides. A simulation of comm/reducer_thread.h:
//
//   - one communication thread runs the items of pipeline_order() one after the other: round 0 of a
//     bucket once its gradient is ready, round r > 0 once the collective of round r - 1 is through;
//   - each item works, then hands its collective to the wire, which carries one after the other
//     (comm/plan/link.h);
//   - while backward runs, the thread works alone and takes cores from it: with backward's team of
//     C threads on C cores everybody runs at C / (C + 1) of full speed; what the transport takes of
//     a core is taken from both alike;
//   - when backward is over the current item ends as it began, and the rest runs with the team;
//   - a vote (one small all-gather), then the optimizer.
//
// Buckets may have different exchanges: one with fewer rounds than the longest skips the items in
// between and finishes with the others, as an exchange that holds several would do.
//
//   const StepPrediction p = predict(step, costs, link);       // seconds, exposed, wire bytes
//   const std::vector<double> e = exposures(step, costs, link);
//
// All ranks are taken to be alike and to arrive together. O(buckets rounds). Pure functions,
// thread-safe. std::logic_error for sizes that do not fit. Free of torch.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/plan/link.h"

namespace terse {

// Seconds of computing.
struct Work {
  double alone = 0;  // on one core
  double team = 0;   // on all cores of the rank
};
Work operator+(const Work& a, const Work& b);
Work operator*(double factor, const Work& work);

struct RoundCost {
  Work work;          // before the collective
  Transfer transfer;  // the collective that it ends with
};

// One bucket's way through its exchange: rounds, then the decoding of the answer.
struct BucketCost {
  std::vector<RoundCost> rounds;
  Work finish;

  int64_t wire_bytes() const;
};

// A step without its exchange, on this rank's cores.
struct StepModel {
  double forward = 0;         // until backward of the last micro-batch begins
  double backward = 0;        // of the last micro-batch
  std::vector<double> ready;  // by bucket: seconds of backward after which its gradient is final
  double apply = 0;           // after the vote: optimizer, weights
  int64_t cores = 1;          // backward's threads, each on a core of its own
  int64_t ranks = 1;          // that vote
};

struct StepPrediction {
  double seconds = 0;             // forward to the last weight
  double exposed = 0;             // from backward's end to the end of the vote
  double backward = 0;            // with what the exchange took from it
  int64_t wire_bytes = 0;         // that this rank sends, without the vote
  double wire_seconds = 0;        // the wire is busy
  std::vector<double> done;       // by bucket: when it was finished, from the start of backward
  std::vector<double> wire_done;  // by bucket: when its last collective was through
};

StepPrediction predict(const StepModel& step, std::span<const BucketCost> buckets,
                       const Link& link);

// By bucket, in [0, 1]: the part of its wire time by which the step would be shorter if its
// collectives carried nothing. 0: hidden behind backward; 1: waited for in full. What L-GreCo by
// time weighs bytes with (comm/allocation/costs.h). O(buckets^2 rounds).
std::vector<double> exposures(const StepModel& step, std::span<const BucketCost> buckets,
                              const Link& link);

}  // namespace terse
