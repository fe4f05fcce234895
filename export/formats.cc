#include "export/formats.h"

#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/keys.h"

namespace terse {
namespace {

using Family = std::vector<FormatRow> (*)();
constexpr Family kFamilies[] = {gguf_rows, compressed_tensors_rows, hf_rows, onnx_rows,
                                archive_rows};

const std::vector<FormatRow>& all_rows() {
  static const std::vector<FormatRow> rows = [] {
    std::vector<FormatRow> all;
    for (const Family family : kFamilies)
      for (FormatRow& row : family()) all.push_back(std::move(row));
    return all;
  }();
  return rows;
}

int64_t size_of(FileSystem& fs, const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0)
    fail(ExitCode::invalid_file, "{}: cannot be read back", path);
  if (!S_ISDIR(info.st_mode)) return info.st_size;
  int64_t bytes = 0;
  for (const std::string& name : fs.list(path))
    bytes += size_of(fs, fmt::format("{}/{}", path, name));
  return bytes;
}

int64_t parameters_of(const Artifact& artifact) {
  int64_t parameters = 0;
  for (const ArtifactWeight& weight : artifact.weights) {
    int64_t n = 1;
    for (int64_t d : weight.shape) n *= d;
    parameters += n;
  }
  return parameters;
}

// Says of every matrix what it is: metadata key "layers", a JSON object of names and formats.
Artifact with_layers(const Artifact& artifact) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::object();
  for (const ArtifactWeight& weight : artifact.weights)
    if (weight.shape.size() == 2)
      layers[weight.name] = weight.compressed()
                                ? to_string(*weight.format)
                                : std::string(dtype_name(weight.dtype)) +
                                      (weight.pattern.empty() ? "" : " ") + weight.pattern;
  Artifact described = artifact;
  described.metadata["layers"] = layers.dump();
  return described;
}

}  // namespace

std::span<const FormatRow> format_rows() {
  return all_rows();
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const FormatRow& row : all_rows()) names.push_back(row.format.name());
  return names;
}

ExportFormat resolve_format(std::string_view text) {
  for (const FormatRow& row : all_rows())
    if (row.format.name() == text) return row.format;
  const std::vector<std::string> names = format_names();
  const std::string near = nearest(text, names);
  fail(ExitCode::usage, "no export format \"{}\"{}; there are {}", text,
       near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near), fmt::join(names, ", "));
}

const FormatRow& format_row(const ExportFormat& format) {
  const auto& rows = all_rows();
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const FormatRow& row) {
    return row.format.name() == format.name();
  });
  TERSE_CHECK(found != rows.end(), "{}", format.name());
  return *found;
}

void check_export(const ExportFormat& format, const Artifact& artifact) {
  artifact.validate();
  const FormatRow& row = format_row(format);
  if (artifact.vit && !row.any_model)
    fail(ExitCode::usage, "{} holds Llamas; a vision transformer is exported as safetensors",
         format.name());
  if (row.check != nullptr) return row.check(artifact);
  for (const ArtifactWeight& weight : artifact.weights) {
    const Fit fit = weight.compressed() ? row.fit(*weight.format) : Fit{};
    if (fit.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} cannot be stored as {} without change: {}", weight.name,
           format.name(), fit.reason);
  }
}

Artifact as_stored(Artifact artifact, const FormatRow& row) {
  for (ArtifactWeight& weight : artifact.weights)
    if (weight.input && (row.holds_input == nullptr || !row.holds_input(weight)))
      weight.input.reset();
  return artifact;
}

ExportReport export_artifact(FileSystem& fs, const Artifact& artifact, const ExportFormat& format,
                             const std::string& out, int64_t shard_bytes) {
  const FormatRow& row = format_row(format);
  if (shard_bytes > 0 && row.write_shards == nullptr)
    fail(ExitCode::usage, "{} is one file: --shard-size is for folders (hf, compressed-tensors)",
         format.name());
  check_export(format, artifact);
  const Artifact told = with_layers(artifact);
  if (shard_bytes > 0)
    row.write_shards(fs, told, out, shard_bytes);
  else
    row.write(fs, told, out);
  ExportReport report;
  report.path = out;
  report.bytes = size_of(fs, out);
  report.parameters = parameters_of(artifact);
  report.bits_per_weight =
      8.0 * static_cast<double>(report.bytes) / static_cast<double>(report.parameters);
  if (row.warnings != nullptr) report.warnings = row.warnings(artifact);
  return report;
}

}  // namespace terse
