#include "trainer/closing.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>

#include "base/error.h"
#include "export/formats.h"
#include "export/import.h"
#include "trainer/data/tokenizer.h"
#include "trainer/logits_probe.h"
#include "trainer/model_shape.h"
#include "trainer/snapshot.h"
#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report.h"
#include "trainer/tokenizer_data.h"

namespace terse {
namespace {

double stored_bits(const CodeFormat& format, int64_t rows, int64_t columns) {
  const int64_t shared = format.group < 0    ? rows * columns
                         : format.group == 0 ? columns
                                             : format.group;
  return format.bits + scale_bits(format.scale_type) / static_cast<double>(shared);
}

// |weight - decoded| / |weight| over all elements.
double relative_error(std::span<const float> weight, const std::vector<float>& decoded) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    const double d = double{weight[i]} - decoded[i];
    difference += d * d;
    norm += double{weight[i]} * weight[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : 0;
}

// Of rank 0's worker residual; -1 where the exchange keeps none in fp32.
double residual_norm(const StateReader& checkpoint, const std::string& name) {
  const auto view = checkpoint.tensor(Scope::own, "exchange/residual/" + name, 0);
  if (!view || view->dtype != DType::f32) return -1;
  double squares = 0;
  for (const float x : view->as<float>()) squares += double{x} * x;
  return std::sqrt(squares);
}

LayerRecord compressed_record(const Artifact& artifact, const std::vector<FileTensor>& parts,
                              LayerRecord record, const StateReader& checkpoint) {
  const CodeFormat format = *artifact.weight(parts.front().name).format;
  record.representation = to_string(format);
  record.bits = stored_bits(format, record.rows, record.columns);
  std::map<int, int64_t> histogram;
  std::vector<float> decoded;
  for (const FileTensor& part : parts) {
    const Codes codes = artifact.weight(part.name).codes();
    for (int8_t code : codes.codes) ++histogram[code];
    const size_t at = decoded.size();
    decoded.resize(at + codes.codes.size());
    codes.decode(decoded.data() + at);
  }
  for (const auto& [code, count] : histogram) record.histogram.push_back({code, count});
  if (format.hadamard == 0)  // otherwise the two live in different spaces
    record.relative_error = relative_error(
        checkpoint.tensor(Scope::shared, "model/" + record.name)->as<float>(), decoded);
  return record;
}

template <typename Change>
void change_results(const std::string& run, const Change& change) {
  const std::string path = RunFiles{run}.results();
  RunResults results = read_results(path);
  change(results);
  write_results(FileSystem::real(), path, results);
}

// The shape of a run's model, from what the run's folder holds.
ModelShape run_shape(const std::string& run, const Recipe& recipe, const StateReader& checkpoint) {
  DataFiles data;
  if (recipe.model.images())
    data.image = load_image(checkpoint);
  else
    data.vocab = Tokenizer::load(tokenizer_path(run)).vocab();
  return shape_of(recipe.model, data);
}

}  // namespace

Artifact run_artifact(const std::string& run, const Recipe& recipe,
                      const std::shared_ptr<Checkpoint>& checkpoint) {
  Artifact artifact = artifact_of(checkpoint, run_shape(run, recipe, *checkpoint), recipe.qat,
                                  compute_type(recipe.train));
  if (!artifact.vit) artifact.tokenizer = tokenizer_data(Tokenizer::load(tokenizer_path(run)));
  artifact.act_bits = recipe.qat.activation_bits();
  artifact.metadata = {{"run", run},
                       {"step", fmt::format("{}", checkpoint->step())},
                       {"target", recipe.qat.enabled() ? recipe.qat.target : "dense"},
                       {"optimizer", recipe.optim.name},
                       {"recipe", recipe.resolved()}};
  return artifact;
}

Served served_by(const std::string& path) {
  if (!is_run(path)) return {read_artifact(path), std::nullopt};
  Recipe recipe = recipe_of(path);
  Artifact artifact = run_artifact(path, recipe, checkpoint_of(path, 0));
  return {std::move(artifact), std::move(recipe)};
}

EvalRecord closing_evaluation(const Artifact& artifact, const Recipe& recipe, const DataFiles& data,
                              const Group& group, const ComputeOptions& compute,
                              const std::function<void()>& between) {
  const auto model = model_of(artifact, compute);
  const auto valid = data.validation(recipe.model.llama.context);
  return evaluate_record(*model, *valid, group, 0, between);
}

std::vector<LayerRecord> layer_records(const Artifact& artifact, const StateReader& checkpoint) {
  std::vector<LayerRecord> records;
  for (const ModelWeight& weight : model_weights(shape_of(artifact))) {
    if (!weight.product) continue;
    LayerRecord record;
    record.name = weight.name;
    record.rows = weight.shape[0];
    record.columns = weight.shape[1];
    record.residual_norm = residual_norm(checkpoint, weight.name);
    const ArtifactWeight& first = artifact.weight(weight.files.front().name);
    record.representation = std::string(dtype_name(first.dtype));
    if (!first.pattern.empty()) record.representation += " " + first.pattern;
    record.bits = static_cast<double>(8 * dtype_size(first.dtype));
    records.push_back(first.compressed()
                          ? compressed_record(artifact, weight.files, record, checkpoint)
                          : record);
  }
  return records;
}

std::string default_export_path(const std::string& run, const std::string& format) {
  return fmt::format("{}/{}", run, format_row(resolve_format(format)).file_name);
}

VerifiedExport export_and_verify(const Artifact& artifact, const std::string& format,
                                 const std::string& out, int64_t shard_bytes) {
  const ExportFormat resolved = resolve_format(format);
  const ExportReport report =
      export_artifact(FileSystem::real(), artifact, resolved, out, shard_bytes);
  const VerifyResult verified = verify_file(out, artifact);
  if (!verified.different.empty())
    fail(ExitCode::invalid_file,
         "{}: {} of {} tensors differ from the run, first {}: a defect of "
         "the writer or of the disk; do not use this file",
         out, verified.different.size(), verified.tensors, verified.different.front());
  VerifiedExport record;
  record.warnings = report.warnings;
  record.format = resolved.name();
  record.path = out;
  record.bytes = report.bytes;
  record.fp16_bytes = 2 * report.parameters;
  record.bits_per_weight = report.bits_per_weight;
  record.tensors = verified.tensors;
  record.tensors_equal = verified.equal;
  return record;
}

std::vector<std::string> VerifiedExport::lines() const {
  std::vector<std::string> all;
  for (const std::string& warning : warnings) all.push_back("warning: " + warning);
  all.push_back(fmt::format("exported {} as {}: {}, {} tensors equal bit for bit", path, format,
                            format_bytes(static_cast<double>(bytes)), tensors_equal));
  return all;
}

std::optional<VerifiedExport> export_as_asked(const std::string& run, const Recipe& recipe,
                                              const Artifact& artifact, const DataFiles& data) {
  const std::string& format = recipe.export_.format;
  if (format.empty()) return std::nullopt;
  const std::string out =
      recipe.export_.path.empty() ? default_export_path(run, format) : recipe.export_.path;
  VerifiedExport exported = export_and_verify(artifact, format, out);
  write_probe_of(as_stored(artifact, format_row(resolve_format(format))), data, out);
  add_result(run, exported);
  return exported;
}

void add_result(const std::string& run, const EvalRecord& record) {
  change_results(run, [&](RunResults& results) {
    std::erase_if(results.evaluations,
                  [&](const EvalRecord& old) { return old.name == record.name; });
    results.evaluations.push_back(record);
  });
}

void add_result(const std::string& run, const ExportRecord& record) {
  change_results(run, [&](RunResults& results) {
    std::erase_if(results.exports,
                  [&](const ExportRecord& old) { return old.path == record.path; });
    results.exports.push_back(record);
  });
}

void describe_run(const std::string& run, const Artifact& artifact, int64_t ranks) {
  change_results(run, [&](RunResults& results) {
    results.name = std::filesystem::path(run).filename().string();
    results.parameters = 0;
    for (const WeightName& weight : artifact.names())
      results.parameters += std::accumulate(weight.shape.begin(), weight.shape.end(), int64_t{1},
                                            std::multiplies<int64_t>());
    results.ranks = ranks;
  });
}

void write_report(const std::string& run) {
  const RunFiles files{run};
  write_atomically(FileSystem::real(), files.report(), render_report(files));
}

}  // namespace terse
