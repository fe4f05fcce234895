#include "export/llama_hf.h"

#include <algorithm>

#include "base/error.h"
#include "export/folder.h"
#include "export/hf_folder.h"

namespace terse {
namespace {

SafetensorsItem make_item(const ArtifactWeight& weight) {
  if (!weight.compressed()) return {weight.name, weight.dtype, weight.shape, weight.bytes};
  return {weight.name, DType::f32, weight.shape, [&weight](const ByteSink& sink) {
            const std::vector<float> values = effective_values(weight);
            sink(std::as_bytes(std::span(values)));
          }};
}

std::vector<SafetensorsItem> make_items(const Artifact& artifact) {
  std::vector<SafetensorsItem> items;
  for (const ArtifactWeight& weight : artifact.weights) items.push_back(make_item(weight));
  return items;
}

bool all_of_type(const Artifact& artifact, DType dtype) {
  return std::all_of(artifact.weights.begin(), artifact.weights.end(),
                     [&](const auto& w) { return !w.compressed() && w.dtype == dtype; });
}

// What transformers loads the weights as: a narrower type than any tensor would round it.
const char* load_type(const Artifact& artifact) {
  if (all_of_type(artifact, DType::bf16)) return "bfloat16";
  return all_of_type(artifact, DType::f16) ? "float16" : "float32";
}

void check(const Artifact& artifact) {
  artifact.validate();
  for (const ArtifactWeight& weight : artifact.weights) {
    if (!weight.compressed()) continue;
    const Fit fit = hf_fit(*weight.format);
    if (fit.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} cannot be stored in Hugging Face's layout: {}", weight.name,
           fit.reason);
  }
}

}  // namespace

Fit hf_fit(const CodeFormat& format) {
  if (format.hadamard != 0)
    return {Verdict::impossible,
            "rotating the weights back would round them and the reader would not rotate "
            "activations; export to compressed-tensors, or train with [qat] hadamard = 0",
            1, 0};
  return {Verdict::exact_after, "decoded to dense F32: larger, the same values", 1, 0};
}

void write_hf_tensors(FileSystem& fs, const Artifact& artifact, const std::string& path) {
  check(artifact);
  write_safetensors(fs, path, make_items(artifact), hf_metadata(artifact));
}

void write_hf_files(FileSystem& fs, const Artifact& artifact, const std::string& folder,
                    int64_t shard_bytes) {
  check(artifact);
  HfFolder content;
  content.items = make_items(artifact);
  content.dtype = load_type(artifact);
  content.shard_bytes = shard_bytes;
  write_hf_folder(fs, artifact, std::move(content), folder);
}

void write_hf(FileSystem& fs, const Artifact& artifact, const std::string& folder,
              int64_t shard_bytes) {
  check(artifact);
  write_folder(fs, folder, [&](const std::string& temporary) {
    write_hf_files(fs, artifact, temporary, shard_bytes);
  });
}

}  // namespace terse
