#include "export/formats.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/keys.h"
#include "export/requantize.h"

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

// Error(usage) for what the format cannot hold.
void check_row(const FormatRow& row, const Artifact& artifact) {
  if (artifact.vit && !row.any_model)
    fail(ExitCode::usage, "{} holds Llamas; a vision transformer is exported as safetensors",
         row.format.name());
  if (row.check != nullptr) return row.check(artifact);
  for (const ArtifactWeight& weight : artifact.weights) {
    const Fit fit = weight.compressed() ? row.fit(*weight.format) : Fit{};
    if (fit.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} cannot be stored as {} without change: {}", weight.name,
           row.format.name(), fit.reason);
  }
}

// Codes that have to be written otherwise.
bool recodes(const FormatRow& row, const Artifact& artifact) {
  return std::ranges::any_of(artifact.weights, [&](const ArtifactWeight& weight) {
    return weight.compressed() && row.fit(*weight.format).verdict == Verdict::exact_after;
  });
}

// The format that holds the artifact: of the same family if there is one, with a type where the
// refused one has a type, without a change of code; the first in the list.
std::string nearest_format(const FormatRow& refused, const Artifact& artifact) {
  const FormatRow* best = nullptr;
  int best_rank = std::numeric_limits<int>::max();
  for (const FormatRow& row : all_rows()) {
    const int rank = (row.format.family == refused.format.family ? 0 : 4) +
                     (row.format.type.empty() == refused.format.type.empty() ? 0 : 2) +
                     (recodes(row, artifact) ? 1 : 0);
    if (rank >= best_rank || !takes_as_it_is(row, artifact)) continue;
    best = &row;
    best_rank = rank;
  }
  return best == nullptr ? "" : best->format.name();
}

bool can_requantize(const FormatRow& row, const Artifact& artifact) {
  try {
    return takes_as_it_is(row, requantized(artifact, row));
  } catch (const Error&) {
    return false;  // no rule, or no blocks of such a width
  }
}

std::string remedies(const FormatRow& row, const Artifact& artifact) {
  std::string text;
  if (const std::string near = nearest_format(row, artifact); !near.empty())
    text += fmt::format("; nearest exact format: {}", near);
  if (can_requantize(row, artifact))
    text += "; --requantize encodes the model anew, which changes it";
  return text;
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

bool takes_as_it_is(const FormatRow& row, const Artifact& artifact) {
  try {
    check_row(row, artifact);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void check_export(const ExportFormat& format, const Artifact& artifact) {
  artifact.validate();
  const FormatRow& row = format_row(format);
  try {
    check_row(row, artifact);
  } catch (const Error& refusal) {
    if (refusal.code() != ExitCode::usage || artifact.vit) throw;
    fail(ExitCode::usage, "{}{}", refusal.what(), remedies(row, artifact));
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
