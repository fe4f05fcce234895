// The engine formats that terse can write, what fits into which, and the one way to write them all.
//
//   const ExportFormat format = resolve_format("gguf:q4_0");
//   check_export(format, artifact);                     // refuses before any work
//   export_artifact(FileSystem::real(), artifact, format, "model.gguf");
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"
#include "export/artifact.h"
#include "export/format_row.h"
#include "export/verdict.h"

namespace terse {

// "gguf", "gguf:q4_0", "hf", ...; Error(usage) that lists what there is and the nearest.
ExportFormat resolve_format(std::string_view text);
std::vector<std::string> format_names();
// All rows, in the order of the list; the row of a resolved format.
std::span<const FormatRow> format_rows();
const FormatRow& format_row(const ExportFormat& format);

// Representation x format x engine, for `terse export --list`.
struct ExportRow {
  std::string representation;
  std::string format;
  std::string engine;
  Verdict verdict = Verdict::exact;
  std::string reason;
  std::string requantize = "";  // the rule of --requantize, where it is impossible without
};
std::vector<ExportRow> export_list();
std::string export_list_text();
// [{"representation", "format", "engine", "verdict", "reason", "requantize"}]
std::string export_list_json();

// Whether the format holds the artifact exactly, as far as is known before any work.
bool takes_as_it_is(const FormatRow& row, const Artifact& artifact);
// Throws Error(usage) naming the first tensor that the format cannot hold exactly, the remedy, the
// nearest format that holds the artifact exactly, and --requantize where that would help.
void check_export(const ExportFormat& format, const Artifact& artifact);

// As a file of this format says it: without the roundings of inputs that it has no place for.
Artifact as_stored(Artifact artifact, const FormatRow& row);

struct ExportReport {
  std::string path;
  int64_t bytes = 0;  // of all files
  int64_t parameters = 0;
  double bits_per_weight = 0.0;       // 8 bytes / parameters, everything counted
  std::vector<std::string> warnings;  // what readers of this format are known to ignore
};

// Writes atomically: a file, or a folder, which must not exist or be empty. Memory: about the
// largest tensor. Calls check_export first. `shard_bytes` (0: what the format's readers are used
// to) is for folders of safetensors files; Error(usage) with other formats.
ExportReport export_artifact(FileSystem& fs, const Artifact& artifact, const ExportFormat& format,
                             const std::string& out, int64_t shard_bytes = 0);

}  // namespace terse
