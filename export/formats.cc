#include "export/formats.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/keys.h"
#include "export/llama_gguf.h"
#include "export/llama_hf.h"

namespace terse {
namespace {

// One row a format. `fit` says what becomes of codes, `fit_dense` of a dense matrix.
struct Format {
  ExportFormat format;
  std::function<Fit(const CodeFormat&)> fit;
  std::function<Fit(DType)> fit_dense;
};

Fit first_fit(const std::function<Fit(const GgufPacking&)>& fit_one, bool codes) {
  std::optional<Fit> refusal;
  for (const GgufPacking& packing : gguf_packings()) {
    Fit fit = fit_one(packing);
    if (fit.verdict == Verdict::impossible) {
      if (!refusal && (packing.pack != nullptr) == codes) refusal = std::move(fit);
      continue;
    }
    fit.reason = fmt::format("as {}{}{}", packing.name, fit.reason.empty() ? "" : ": ", fit.reason);
    return fit;
  }
  return *refusal;
}

Fit keep_type(DType) {
  return {};
}

std::vector<Format> formats() {
  std::vector<Format> all;
  all.push_back({{"gguf", ""},
                 [](const CodeFormat& f) {
                   return first_fit([&](const GgufPacking& p) { return gguf_fit(f, p); }, true);
                 },
                 [](DType d) {
                   return first_fit([&](const GgufPacking& p) { return gguf_fit(d, p); }, false);
                 }});
  for (const GgufPacking& p : gguf_packings())
    all.push_back({{"gguf", p.name},
                   [&p](const CodeFormat& f) { return gguf_fit(f, p); },
                   [&p](DType d) { return gguf_fit(d, p); }});
  all.push_back({{"hf", ""}, hf_fit, keep_type});
  all.push_back({{"safetensors", ""}, hf_fit, keep_type});
  return all;
}

struct NamedCodes {
  const char* name;
  CodeFormat format;
};

// The representations that training can produce, each by an example of its format.
std::vector<NamedCodes> representations() {
  const auto f16 = ScaleType::f16, f32 = ScaleType::f32;
  return {
      {"gguf:q4_0 target", {"int_signed", 4, -8, 7, 0.0f, 32, f16, 0}},
      {"gguf:q8_0 target", {"int_signed", 8, -127, 127, 0.0f, 32, f16, 0}},
      {"int_signed 4 bits, 128 columns a scale, fp16", {"int_signed", 4, -8, 7, 0.0f, 128, f16, 0}},
      {"gguf:q4_0 target, 2:4 mask", {"int_signed", 4, -8, 7, 0.0f, 32, f16, 0, "2:4"}},
      {"half_int 4 bits, 128 columns a scale, fp16", {"half_int", 4, -8, 7, 0.5f, 128, f16, 0}},
      {"half_int 4 bits, 128 columns, fp16, 2:4 mask",
       {"half_int", 4, -8, 7, 0.5f, 128, f16, 0, "2:4"}},
      {"half_int 3 bits, 128 columns a scale, fp16", {"half_int", 3, -4, 3, 0.5f, 128, f16, 0}},
      {"half_int 1 bit, 128 columns a scale, fp16", {"half_int", 1, -1, 0, 0.5f, 128, f16, 0}},
      {"any grid, fp32 scales (target = \"none\")", {"half_int", 4, -8, 7, 0.5f, 0, f32, 0}},
      {"any grid, rotated (hadamard = 128)", {"half_int", 4, -8, 7, 0.5f, 0, f32, 128}},
  };
}

const Format& find(const std::vector<Format>& all, const ExportFormat& format) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Format& f) {
    return f.format.family == format.family && f.format.type == format.type;
  });
  TERSE_CHECK(found != all.end(), "{}", format.name());
  return *found;
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

// What engines are known not to do as the training did.
std::vector<std::string> warnings_of(const Artifact& artifact, const ExportFormat& format) {
  std::vector<std::string> warnings;
  const bool gguf = format.family == "gguf";
  if (gguf && artifact.act_bits < 8)
    warnings.push_back(
        fmt::format("trained with {}-bit activations; llama.cpp computes with its own 8-bit ones",
                    artifact.act_bits));
  if (!gguf && artifact.act_bits < 16)
    warnings.push_back(fmt::format(
        "trained with {}-bit activations; readers of dense weights do not quantize activations",
        artifact.act_bits));
  if (format.family == "hf" && artifact.tokenizer.model.empty())
    warnings.push_back("no tokenizer.model is known, so the folder has none");
  return warnings;
}

}  // namespace

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const Format& f : formats()) names.push_back(f.format.name());
  return names;
}

ExportFormat resolve_format(std::string_view text) {
  for (const Format& f : formats())
    if (f.format.name() == text) return f.format;
  const std::vector<std::string> names = format_names();
  const std::string near = nearest(text, names);
  fail(ExitCode::usage, "no export format \"{}\"{}; there are {}", text,
       near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near), fmt::join(names, ", "));
}

std::vector<ExportRow> export_list() {
  std::vector<ExportRow> rows;
  const auto add = [&](const char* representation, const Format& format, Fit fit) {
    rows.push_back({representation, format.format.name(), fit.verdict, std::move(fit.reason)});
  };
  const std::vector<Format> all = formats();
  for (const NamedCodes& codes : representations())
    for (const Format& format : all) add(codes.name, format, format.fit(codes.format));
  for (const auto& [name, dtype] :
       {std::pair{"dense bf16", DType::bf16}, {"dense fp32", DType::f32}})
    for (const Format& format : all) add(name, format, format.fit_dense(dtype));
  return rows;
}

std::string export_list_text() {
  std::string text;
  for (const ExportRow& row : export_list())
    text += fmt::format("{:<46} {:<12} {:<12} {}\n", row.representation, row.format,
                        verdict_name(row.verdict), row.reason);
  return text;
}

std::string export_list_json() {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ExportRow& row : export_list())
    list.push_back({{"representation", row.representation},
                    {"format", row.format},
                    {"verdict", verdict_name(row.verdict)},
                    {"reason", row.reason}});
  return list.dump();
}

void check_export(const ExportFormat& format, const Artifact& artifact) {
  artifact.validate();
  if (format.family == "gguf") return check_gguf(artifact, format.type);
  const std::vector<Format> all = formats();
  for (const ArtifactWeight& weight : artifact.weights) {
    const Fit fit = weight.compressed() ? find(all, format).fit(*weight.format) : Fit{};
    if (fit.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} cannot be stored as {}: {}", weight.name, format.name(),
           fit.reason);
  }
}

ExportReport export_artifact(FileSystem& fs, const Artifact& artifact, const ExportFormat& format,
                             const std::string& out) {
  check_export(format, artifact);
  if (format.family == "gguf") write_gguf(fs, artifact, format.type, out);
  if (format.family == "hf") write_hf(fs, artifact, out);
  if (format.family == "safetensors") write_hf_tensors(fs, artifact, out);
  ExportReport report;
  report.path = out;
  report.bytes = size_of(fs, out);
  for (const ArtifactWeight& weight : artifact.weights) {
    int64_t n = 1;
    for (int64_t d : weight.shape) n *= d;
    report.parameters += n;
  }
  report.bits_per_weight =
      8.0 * static_cast<double>(report.bytes) / static_cast<double>(report.parameters);
  report.warnings = warnings_of(artifact, format);
  return report;
}

}  // namespace terse
