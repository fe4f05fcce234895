// The vote: one small all-gather at the end of a step, before any state changes.
//
// Every rank tells what it did and whether its gradient is sound; every rank reads the same ballots
// and draws the same conclusion, without a second round.
#pragma once
#include <cstdint>
#include <span>

#include "comm/group.h"
#include "comm/optimizer.h"

namespace terse {

// Plain data: it is sent as bytes.
struct Ballot {
  int64_t step = 0;
  uint64_t plan_hash = 0;
  int64_t phase = 0;  // of this step
  int64_t residual_epoch = 0;
  double message_scale = 1;  // clip coefficient that went into the messages
  double squares = 0;        // of this rank's gradient; not finite: skip
  double loss = 0;
  int64_t next_phase = 0;  // rank 0's counts
  int64_t next_residual_epoch = 0;
  double next_density = 0;
  int64_t decide = 0;   // not 0: a decision is due at this step's commit; rank 0's counts
  int64_t stop = 0;     // not 0: this rank was asked to stop after this step
  int64_t missing = 0;  // gradients of local steps since the last vote that were not finite
};

struct Tally {
  int64_t bad_rank = -1;  // the first rank whose gradient or loss is not finite
  double loss = 0;        // mean over ranks, summed in rank order
  double norm = 0;        // sqrt(mean over ranks of the squared gradient norms)
  PhasePlan next;         // rank 0's
  bool decide = false;    // rank 0's
  bool stop = false;      // some rank was asked to stop
  int64_t missing = 0;    // sum over ranks
};

// Draws the conclusion. Error(disagree) names the ranks whose step, plan, phase, residual epoch or
// clip coefficient differ from rank 0's, with both values.
Tally tally(std::span<const Ballot> ballots);

// Collective; 96 bytes a rank.
Tally vote(Group& group, const Ballot& own);

}  // namespace terse
