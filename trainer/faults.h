// Faults on request, for drills: what happens to my job when a rank dies in the night?
//
//   TERSE_FAULT="kill:1:120"          rank 1 kills itself (SIGKILL) while taking step 120
//   TERSE_FAULT="nan:0:7,hang:2:30"   rank 0's gradient turns NaN at step 7, rank 2 stops at 30
//   TERSE_FAULT="full:1:40"           rank 1's disk is full when the checkpoint of step 40 is saved
//   TERSE_FAULT="torn:0:40"          rank 0 is killed while it writes the checkpoint of step 40
//
// Kinds: kill, nan, hang, exit, full, torn. A restarted job (restart count above 0) ignores all but
// nan and full, so that a drill under a supervisor ends. Unset: nothing happens and nothing is
// spent.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/file_system.h"

namespace terse {

enum class FaultKind { kill, nan, hang, exit, full, torn };

struct Fault {
  FaultKind kind;
  int rank = 0;
  int64_t step = 0;
};

// Error(usage) if the text is none of the above.
std::vector<Fault> parse_faults(const std::string& text);

class Faults {
 public:
  // Reads TERSE_FAULT and keeps what concerns this rank.
  Faults(int rank, int restart);
  // Called in the middle of each step. True: this step's gradient is to become NaN. May not return.
  bool strike(int64_t step) const;
  // Where the checkpoint of this step is written: the real file system, one without space, or one
  // that is the end of this process.
  FileSystem& disk(int64_t step) const;

 private:
  std::vector<Fault> mine_;
};

}  // namespace terse
