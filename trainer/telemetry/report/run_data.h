// What the report shows, read from a run's directory once and summed up.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "trainer/telemetry/records.h"
#include "trainer/telemetry/results.h"
#include "trainer/telemetry/run_files.h"
#include "trainer/telemetry/tables.h"

namespace terse {

// As a reader calls it.
inline std::string phase_title(const std::string& phase) {
  return phase == "codec" ? "compressed" : phase == "skip" ? "local steps" : phase;
}

// Consecutive steps of one phase.
struct PhaseSpan {
  std::string phase;
  int64_t first = 0;  // step
  int64_t last = 0;
};

struct PhaseTraffic {
  std::string phase;
  int64_t steps = 0;
  int64_t wire_bytes = 0;
  int64_t dense_bytes = 0;
};

// The sums before and after each step, at the index of RunData::steps.
struct Cumulative {
  double seconds = 0;
  double wire_bytes = 0;
  double dense_bytes = 0;
};

struct RunData {
  std::string name;
  std::vector<StepRecord> steps;
  std::vector<Cumulative> sums;  // after each step
  std::vector<EvalRecord> evaluations;
  std::vector<DecisionRecord> decisions;
  std::vector<PhaseSpan> spans;
  std::vector<PhaseTraffic> traffic;  // in order of first appearance
  std::vector<LayerRecord> layers;
  RunResults results;
  std::string recipe;            // text; empty if missing
  std::vector<Row> environment;  // env.json, nested keys joined by dots
  int64_t skipped = 0;
  double exposed_seconds = 0;
  double tokens_per_second = 0;

  // The closing evaluation: of results.json, else the last of metrics.jsonl; null if there is none.
  const EvalRecord* closing() const;
  Cumulative total() const { return sums.empty() ? Cumulative{} : sums.back(); }
};

RunData read_run(const RunFiles& files);

}  // namespace terse
