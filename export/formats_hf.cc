#include "base/error.h"
#include "export/format_row.h"
#include "export/llama_hf.h"

namespace terse {
namespace {

Fit keep_type(DType) {
  return {};
}

std::vector<std::string> warnings(const Artifact& artifact) {
  if (artifact.act_bits >= 16) return {};
  return {fmt::format(
      "trained with {}-bit activations; readers of dense weights do not quantize activations",
      artifact.act_bits)};
}

std::vector<std::string> folder_warnings(const Artifact& artifact) {
  std::vector<std::string> all = warnings(artifact);
  if (artifact.tokenizer.model.empty())
    all.push_back("no tokenizer.model is known, so the folder has none");
  return all;
}

}  // namespace

std::vector<FormatRow> hf_rows() {
  return {{.format = {"hf"},
           .engines = {{"transformers"}},
           .fit = hf_fit,
           .fit_dense = keep_type,
           .write = [](FileSystem& fs, const Artifact& artifact,
                       const std::string& out) { write_hf(fs, artifact, out); },
           .write_shards = write_hf,
           .warnings = folder_warnings,
           .requantize_as = "f32",
           .file_name = "hf"},
          {.format = {"safetensors"},
           .engines = {{"any reader"}},
           .any_model = true,
           .fit = hf_fit,
           .fit_dense = keep_type,
           .write = write_hf_tensors,
           .warnings = warnings,
           .requantize_as = "f32",
           .file_name = "model.safetensors"}};
}

}  // namespace terse
