// Telemetry: everything that rank 0 tells about a run while it trains.
//
//   Telemetry telemetry(FileSystem::real(), {run}, options, total_steps, resumed_step, print);
//   telemetry.step(record);            metrics.jsonl, TensorBoard, the progress line
//   telemetry.eval(record);
//   telemetry.decision(record);        decisions.jsonl, and a line on the screen
//   telemetry.sync();                  before a checkpoint is published
//
// `resumed_step` is the checkpoint's step (0: a new run): records of later steps, which the resumed
// run will take again, are cut off. Records of other ranks are not written. Not thread-safe.
// Errors: Error(invalid_file) of the file system, e.g. a full disk.
#pragma once
#include <cstdint>

#include "base/file_system.h"
#include "trainer/telemetry/event_file.h"
#include "trainer/telemetry/jsonl_log.h"
#include "trainer/telemetry/progress.h"
#include "trainer/telemetry/records.h"
#include "trainer/telemetry/run_files.h"
#include "trainer/telemetry/tables.h"

namespace terse {

class Telemetry {
 public:
  Telemetry(FileSystem& fs, const RunFiles& files, const ProgressOptions& options,
            int64_t total_steps, int64_t resumed_step, Print print);

  void step(const StepRecord& record);
  void eval(const EvalRecord& record);
  void decision(const DecisionRecord& record);
  void note(std::string_view text);  // on the screen only
  void sync();

  // Sums over the whole run, steps before the resumption included; loss and perplexity are those of
  // the last EvalRecord.
  const RunSummary& summary() const { return summary_; }

 private:
  void count(const StepRecord& record);

  RunSummary summary_;
  double process_seconds_ = 0;
  int64_t process_tokens_ = 0;
  JsonlLog metrics_;
  JsonlLog decisions_;
  EventFile events_;
  Progress progress_;
};

}  // namespace terse
