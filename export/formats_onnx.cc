#include "base/error.h"
#include "export/format_row.h"
#include "export/llama_onnx.h"
#include "export/onnx_pack.h"

namespace terse {
namespace {

std::vector<std::string> warnings(const Artifact& artifact, const std::string& type) {
  std::vector<std::string> all;
  if (artifact.act_bits < 16)
    all.push_back(fmt::format(
        "trained with {}-bit activations; the graph computes with fp32 ones, unquantized",
        artifact.act_bits));
  if (type == "int8")
    all.push_back(
        "ONNX Runtime rounds the activations before int8 weights to 8 bits, too, unless the "
        "session "
        "option session.qdq_matmulnbits_accuracy_level is 1, as genai_config.json says; onnx, "
        "without a type, does not depend on it");
  return all;
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
          .file_name = "onnx"};
}

}  // namespace

std::vector<FormatRow> onnx_rows() {
  std::vector<FormatRow> rows;
  for (const char* type : {"", "int4", "int2", "int8"}) rows.push_back(row(type));
  return rows;
}

}  // namespace terse
