// A run that looks like a real one, made up: what the tests and the eye check the report with.
#pragma once
#include "trainer/telemetry/records.h"
#include "trainer/telemetry/results.h"
#include "trainer/telemetry/run_files.h"

namespace terse::test {

// Step `step` of `total`: warm-up and dense phase for the first fifth, compressed afterwards.
StepRecord synthetic_step(int64_t step, int64_t total);

// All files of a finished run of `total` steps in `directory`.
void write_synthetic_run(const RunFiles& files, int64_t total);

}  // namespace terse::test
