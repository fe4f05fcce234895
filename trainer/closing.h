// What is done with a run once its weights are final: closing evaluation, layer table, export,
// report. All of it starts from the final checkpoint, so that what is measured is what is served.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "comm/group.h"
#include "export/artifact.h"
#include "trainer/recipe/recipe.h"
#include "trainer/run_directory.h"
#include "trainer/session.h"
#include "trainer/telemetry/results.h"

namespace terse {

// The run's model as an Artifact, tokenizer and metadata included.
Artifact run_artifact(const std::string& run, const Recipe& recipe,
                      const std::shared_ptr<Checkpoint>& checkpoint);

// What `path` serves: a run's final Codes and what its forward does to activations, or those of an
// exported file, as far as it says them.
struct Served {
  Artifact artifact;
  std::optional<Recipe> recipe;  // of a run
};
Served served_by(const std::string& path);

// Collective: what the checkpoint's Codes score on all validation examples.
// `between`: as EvaluateOptions (trainer/evaluate.h).
EvalRecord closing_evaluation(const Artifact& artifact, const Recipe& recipe, const DataFiles& data,
                              const Group& group, const ComputeOptions& compute,
                              const std::function<void()>& between);

// One record a linear layer, for layers.json.
std::vector<LayerRecord> layer_records(const Artifact& artifact, const StateReader& checkpoint);

// Where training exports to when the recipe does not say: RUN/model.gguf, RUN/model.safetensors,
// RUN/hf.
std::string default_export_path(const std::string& run, const std::string& format);

struct VerifiedExport : ExportRecord {
  std::vector<std::string> warnings;       // what readers of this format are known to ignore
  std::vector<std::string> lines() const;  // for a log: the warnings, then what was written
};

// Exports into `out` and verifies the file against the Artifact, tensor by tensor.
// `shard_bytes`: of export_artifact (export/formats.h).
VerifiedExport export_and_verify(const Artifact& artifact, const std::string& format,
                                 const std::string& out, int64_t shard_bytes = 0);

// Adds to RUN/results.json: evaluations and exports replace older ones of the same name.
void add_result(const std::string& run, const EvalRecord& record);
void add_result(const std::string& run, const ExportRecord& record);

// What [export] asks for, with a probe (trainer/logits_probe.h) beside it and an entry in
// RUN/results.json; nothing if it asks for nothing.
std::optional<VerifiedExport> export_as_asked(const std::string& run, const Recipe& recipe,
                                              const Artifact& artifact, const DataFiles& data);

// Fills in who ran it: name, parameters, ranks.
void describe_run(const std::string& run, const Artifact& artifact, int64_t ranks);

// Writes RUN/report.html.
void write_report(const std::string& run);

}  // namespace terse
