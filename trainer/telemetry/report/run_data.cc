#include "trainer/telemetry/report/run_data.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file_system.h"

namespace terse {
namespace {

using Json = nlohmann::ordered_json;

std::string read_if_there(const std::string& path) {
  return std::filesystem::exists(path) ? read_text(path) : std::string();
}

void flatten(const Json& json, const std::string& prefix, std::vector<Row>& rows) {
  if (!json.is_object()) {
    rows.push_back({prefix, json.is_string() ? json.get<std::string>() : json.dump()});
    return;
  }
  for (const auto& [key, value] : json.items()) {
    flatten(value, prefix.empty() ? key : fmt::format("{}.{}", prefix, key), rows);
  }
}

std::vector<Row> read_environment(const std::string& path) {
  std::vector<Row> rows;
  const Json json = Json::parse(read_if_there(path), nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) flatten(json, "", rows);
  return rows;
}

void add_step(const StepRecord& step, RunData& run) {
  Cumulative sum = run.total();
  sum.seconds += step.seconds;
  sum.wire_bytes += static_cast<double>(step.wire_bytes);
  sum.dense_bytes += static_cast<double>(step.dense_bytes);
  run.sums.push_back(sum);
  run.steps.push_back(step);
  run.skipped += step.skipped ? 1 : 0;
  run.exposed_seconds += step.exposed_seconds;

  // Local steps and the exchanges between them are one span.
  const bool meeting =
      !run.spans.empty() && run.spans.back().phase == "skip" && step.phase == "codec";
  if (run.spans.empty() || (run.spans.back().phase != step.phase && !meeting)) {
    run.spans.push_back({step.phase, step.step, step.step});
  }
  run.spans.back().last = step.step;
  auto traffic = std::find_if(run.traffic.begin(), run.traffic.end(),
                              [&](const PhaseTraffic& t) { return t.phase == step.phase; });
  if (traffic == run.traffic.end()) {
    traffic = run.traffic.insert(run.traffic.end(), {step.phase, 0, 0, 0});
  }
  traffic->steps += 1;
  traffic->wire_bytes += step.wire_bytes;
  traffic->dense_bytes += step.dense_bytes;
}

std::string directory_name(const std::string& directory) {
  const auto path = std::filesystem::absolute(directory).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

}  // namespace

const EvalRecord* RunData::closing() const {
  if (!results.evaluations.empty()) return &results.evaluations.back();
  return evaluations.empty() ? nullptr : &evaluations.back();
}

RunData read_run(const RunFiles& files) {
  if (!std::filesystem::exists(files.metrics())) {
    fail(ExitCode::invalid_file, "{}: there is no metrics.jsonl; is this the directory of a run?",
         files.directory);
  }
  RunData run;
  double tokens = 0;
  for (const Record& record : parse_records(read_text(files.metrics()))) {
    if (const auto* step = std::get_if<StepRecord>(&record)) {
      add_step(*step, run);
      tokens += static_cast<double>(step->tokens);
    }
    if (const auto* eval = std::get_if<EvalRecord>(&record)) run.evaluations.push_back(*eval);
  }
  if (run.total().seconds > 0) run.tokens_per_second = tokens / run.total().seconds;
  for (const Record& record : parse_records(read_if_there(files.decisions()))) {
    if (const auto* d = std::get_if<DecisionRecord>(&record)) run.decisions.push_back(*d);
  }
  run.results = read_results(files.results());
  run.layers = read_layers(files.layers());
  run.recipe = read_if_there(files.recipe());
  run.environment = read_environment(files.environment());
  run.name = run.results.name.empty() ? directory_name(files.directory) : run.results.name;
  return run;
}

}  // namespace terse
