// An ONNX model, alone or in the folder that terse exports.
#include <memory>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import_onnx.h"
#include "export/import_onnx_input.h"
#include "export/inspect_parts.h"
#include "export/llama_onnx.h"

namespace terse {
namespace {

std::string model_in(const std::string& path) {
  const std::string inside = fmt::format("{}/{}", path, kOnnxFile);
  return FileSystem::real().exists(inside) ? inside : path;
}

// A model says nothing of itself in its first bytes but its version: the name decides.
bool recognises(const std::string& path) {
  return path.ends_with(".onnx") || model_in(path) != path;
}

std::shared_ptr<OnnxFile> verified(const std::string& path) {
  auto file = std::make_shared<OnnxFile>(model_in(path));
  file->verify_checksums(false);
  return file;
}

StoredTensors stored(const std::string& path, const LlamaShape&) {
  const auto file = verified(path);
  StoredTensors all;
  for (const std::string& name : onnx_weights(*file)) {
    ArtifactWeight weight = onnx_weight(file, name);
    std::vector<int64_t> shape = weight.shape;
    const std::optional<InputFormat> input = weight.input;
    all[name] = {std::move(shape),
                 [file, weight = std::move(weight)] { return effective_values(weight); }, input};
  }
  return all;
}

Artifact import(const std::string& path) {
  return import_onnx(verified(path));
}

const char* type_name(int32_t type) {
  switch (type) {
    case 1:
      return "FLOAT";
    case 2:
      return "UINT8";
    case 3:
      return "INT8";
    case 6:
      return "INT32";
    case 7:
      return "INT64";
    case 10:
      return "FLOAT16";
    case 16:
      return "BFLOAT16";
    default:
      return "other";
  }
}

std::map<int, int64_t> histogram(const std::shared_ptr<const OnnxFile>& file,
                                 const OnnxTensor& tensor) {
  CodeCounts counts;
  const bool whole = tensor.type == 2 || tensor.type == 3;
  if (!whole || !tensor.name.ends_with(".weight")) return counts.histogram();
  const ArtifactWeight weight = onnx_weight(file, tensor.name);
  if (weight.compressed()) counts.add(weight.codes().codes);
  return counts.histogram();
}

Inspection inspect(const std::string& path) {
  const auto file = std::make_shared<OnnxFile>(model_in(path));
  Inspection out;
  out.path = file->path();
  out.format = kOnnxReader.name;
  out.checksums = checksum_state(*file);
  out.bytes = file->bytes();
  std::map<std::string, int64_t> operators;
  for (const OnnxNode& node : file->nodes()) ++operators[node.op];
  for (const auto& [op, count] : operators)
    out.metadata.emplace_back("nodes." + op, fmt::format("{}", count));
  for (const auto& [key, value] : file->metadata())
    if (!says_onnx_input(key)) out.metadata.emplace_back(key, shortened(value));
  for (const OnnxTensor& tensor : file->tensors()) {
    out.tensors.push_back({tensor.name, type_name(tensor.type), tensor.shape,
                           static_cast<int64_t>(tensor.data.size()), histogram(file, tensor)});
    if (tensor.name.ends_with(".weight")) {
      const ArtifactWeight weight = onnx_weight(file, tensor.name);
      int64_t n = 1;
      for (const int64_t d : weight.shape) n *= d;
      out.parameters += n;
      if (weight.input) out.tensors.back().input = to_string(*weight.input);
    }
  }
  return out;
}

Metadata metadata_of(const std::string& path) {
  return onnx_run_metadata(OnnxFile(model_in(path)));
}

}  // namespace

const FileReader kOnnxReader = {"onnx", recognises, stored, import, inspect, metadata_of};

}  // namespace terse
