#include <set>

#include "base/error.h"
#include "export/format_row.h"
#include "export/llama_onnx.h"
#include "export/onnx_input.h"
#include "export/onnx_pack.h"

namespace terse {
namespace {

// How layers round their inputs where the graph does not: "fp4 b4 rms".
std::set<std::string> unrounded(const Artifact& artifact) {
  std::set<std::string> formats;
  for (const ArtifactWeight& weight : artifact.weights)
    if (weight.input && !onnx_rounds(*weight.input)) formats.insert(to_string(*weight.input));
  return formats;
}

std::vector<std::string> warnings(const Artifact& artifact, const std::string& type) {
  std::vector<std::string> all;
  const std::set<std::string> left = unrounded(artifact);
  if (!left.empty())
    all.push_back(fmt::format(
        "trained with inputs rounded as {}, for which ONNX has no operators; the graph leaves them "
        "unrounded. Train with [qat] act_grid = \"int_signed\" or \"half_int\"",
        fmt::join(left, ", ")));
  else if (artifact.act_bits < 16 && !artifact.rounds_inputs())
    all.push_back(
        fmt::format("trained with {}-bit activations, of which nothing says how; the graph leaves "
                    "inputs unrounded",
                    artifact.act_bits));
  if (type == "int8")
    all.push_back(
        "ONNX Runtime rounds the activations before int8 weights to 8 bits, too, unless the "
        "session "
        "option session.qdq_matmulnbits_accuracy_level is 1, as genai_config.json says; onnx, "
        "without a type, does not depend on it");
  if (onnx_multiplies_codes(artifact, type))
    all.push_back(
        "ONNX Runtime's products of 8-bit codes saturate on x64 processors without VNNI unless the "
        "session option session.x64quantprecision is 1, as genai_config.json says");
  return all;
}

// ONNX Runtime's own quantizers; without a type MatMulNBits of the most bits.
std::string requantize_as(const std::string& type) {
  if (type == "int8") return "onnx:int8";
  return type == "int4" ? "onnx:matmul4" : type == "int2" ? "onnx:matmul2" : "onnx:matmul8";
}

FormatRow row(const std::string& type) {
  return {.format = {"onnx", type},
          .engines = {{"ONNX Runtime"}, {"OpenVINO"}},
          .fit = [type](const CodeFormat& format) { return onnx_fit(format, type); },
          .fit_dense = [type](DType) -> Fit {
            if (type.empty()) return {};
            return {Verdict::impossible,
                    "the weights have no codes; quantizing them now would change the model", 1, 0};
          },
          .check = [type](const Artifact& artifact) { check_onnx(artifact, type); },
          .write = [type](FileSystem& fs, const Artifact& artifact,
                          const std::string& out) { write_llama_onnx(fs, artifact, type, out); },
          .warnings = [type](const Artifact& artifact) { return warnings(artifact, type); },
          .holds_input = [](const ArtifactWeight& weight) { return onnx_rounds(*weight.input); },
          .requantize_as = requantize_as(type),
          .file_name = "onnx"};
}

}  // namespace

std::vector<FormatRow> onnx_rows() {
  std::vector<FormatRow> rows;
  for (const char* type : {"", "int4", "int2", "int8"}) rows.push_back(row(type));
  return rows;
}

}  // namespace terse
