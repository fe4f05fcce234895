// The names of the files in a run's directory that telemetry writes or the report reads.
#pragma once
#include <string>

namespace terse {

struct RunFiles {
  std::string directory;

  std::string metrics() const { return directory + "/metrics.jsonl"; }
  std::string decisions() const { return directory + "/decisions.jsonl"; }
  std::string tensorboard() const { return directory + "/tb"; }
  std::string recipe() const { return directory + "/recipe.resolved.toml"; }
  std::string environment() const { return directory + "/env.json"; }  // an object of any depth
  std::string layers() const { return directory + "/layers.json"; }    // results.h: LayerRecord
  std::string results() const { return directory + "/results.json"; }  // results.h: RunResults
  std::string report() const { return directory + "/report.html"; }
};

}  // namespace terse
