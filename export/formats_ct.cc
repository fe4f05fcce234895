#include "base/error.h"
#include "export/compressed_tensors.h"
#include "export/ct_scheme.h"
#include "export/format_row.h"
#include "export/llama_hf.h"

namespace terse {
namespace {

Fit impossible(std::string reason) {
  return {Verdict::impossible, std::move(reason), 1, 0};
}

// That the type rounds inputs to; 16: it does not.
int input_bits(const std::string& type) {
  return ct_input(type).value_or(InputFormat{.bits = 16}).bits;
}

// Inputs are not part of a CodeFormat: those of the type are taken for granted here, and looked at
// by FormatRow::input_bits and check_compressed_tensors.
Fit fit_type(const CodeFormat& format, const std::string& type) {
  Fit fit = ct_fit(format);
  if (fit.verdict == Verdict::impossible || type.empty()) return fit;
  ArtifactWeight weight;
  weight.format = format;
  weight.input = ct_input(type);
  const std::string name = ct_name(ct_scheme(weight));
  if (name == type) return fit;
  return impossible(fmt::format("it is {}; {}", name, ct_training(type)));
}

Fit fit_vllm(const CodeFormat& format) {
  ArtifactWeight weight;
  weight.format = format;
  const CtScheme s = ct_scheme(weight);
  if (s.fp4()) return {};
  if (s.bits == 1) return impossible("vLLM reads 2 to 8 bits");
  if (s.group != 0 && s.group != 32 && s.group != 64 && s.group != 128)
    return impossible("vLLM's kernels share a scale among 32, 64 or 128 columns, or a row");
  return {};
}

Fit fit_dense(const std::string& type) {
  if (type.empty()) return {};
  return impossible("the weights have no codes; quantizing them now would change the model");
}

// Without a type: the least change that a whole model can be given, 8 bits.
std::string requantize_as(const std::string& type) {
  return "compressed-tensors:" + (type.empty() ? "w8a16" : type);
}

FormatRow row_of(const std::string& type) {
  FormatRow row;
  row.format = {"compressed-tensors", type};
  row.engines = {{"transformers"}, {"vLLM", fit_vllm}};
  row.fit = [type](const CodeFormat& format) { return fit_type(format, type); };
  row.fit_dense = [type](DType) { return fit_dense(type); };
  row.takes = [type](const ArtifactWeight& weight) { return ct_is(weight, type); };
  row.check = [type](const Artifact& artifact) { check_compressed_tensors(artifact, type); };
  row.write = [type](FileSystem& fs, const Artifact& artifact, const std::string& out) {
    write_compressed_tensors(fs, artifact, type, out, kShardBytes);
  };
  row.write_shards = [type](FileSystem& fs, const Artifact& artifact, const std::string& out,
                            int64_t shard_bytes) {
    write_compressed_tensors(fs, artifact, type, out, shard_bytes);
  };
  row.warnings = compressed_tensors_warnings;
  row.holds_input = [](const ArtifactWeight& weight) {
    return weight.compressed() && ct_rounds(*weight.format, *weight.input);
  };
  row.requantize_as = requantize_as(type);
  row.requantize_input = ct_input(type);
  row.input_bits = type.empty() ? 0 : input_bits(type);
  row.file_name = "compressed-tensors";
  return row;
}

}  // namespace

std::vector<FormatRow> compressed_tensors_rows() {
  std::vector<FormatRow> rows;
  for (const std::string& type : compressed_tensors_types()) rows.push_back(row_of(type));
  return rows;
}

}  // namespace terse
