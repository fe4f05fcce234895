// Training: the main job from a recipe to a finished run, as a story.
//
//   new run:   recipe -> data -> run folder -> session -> steps -> final checkpoint -> closing
//              evaluation on its Codes -> export -> report
//   resumed:   run folder -> newest checkpoint that verifies -> the same from "steps" on
//
// Collective. Prints through `print` (rank 0 only).
#pragma once
#include <string>
#include <vector>

#include "comm/connect.h"
#include "trainer/telemetry/progress.h"
#include "trainer/telemetry/tables.h"

namespace terse {

struct TrainingOptions {
  std::string recipe;             // path of the recipe; empty when resuming
  std::string resume;             // a run's folder; empty for a new run
  std::string out;                // folder of a new run; empty = one under runs/
  std::vector<std::string> sets;  // --set table.key=value
  std::string deepspeed;          // a DeepSpeed configuration over the recipe; "" = none
  std::string backend = "auto";
  int64_t threads = 0;  // of a rank, before [train] threads; 0 = what the recipe says
  Bind bind = Bind::automatic;
  WorldFlags flags;
  ProgressOptions progress;
  Print print;
};

struct TrainingResult {
  RunSummary summary;
  bool preempted = false;  // stopped by a signal; saved, and to be resumed
};

// Errors: as Reducer and Checkpoint say. A stop signal ends in a checkpoint and `preempted`, unless
// a peer died, which is Error(peer_lost). While data are prepared there is nothing to save yet:
// Error(preempted); in the closing work the final checkpoint is there already, and resuming does
// that work again.
TrainingResult train(const TrainingOptions& options);

}  // namespace terse
