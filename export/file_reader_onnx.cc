// An ONNX model, alone or in the folder that terse exports.
#include <map>
#include <memory>
#include <set>

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

InspectTensor as_it_stands(const OnnxTensor& tensor) {
  return {tensor.name,
          type_name(tensor.type),
          tensor.shape,
          static_cast<int64_t>(tensor.data.size()),
          {}};
}

// A weight as the matrix that it is, with all that it takes in the file.
InspectTensor inspect_weight(const std::shared_ptr<const OnnxFile>& file,
                             const OnnxTensor& tensor) {
  const ArtifactWeight weight = onnx_weight(file, tensor.name);
  InspectTensor out = as_it_stands(tensor);
  out.shape = weight.shape;
  if (weight.input) out.input = to_string(*weight.input);
  for (const std::string& name : onnx_beside(*file, tensor.name))
    out.bytes += static_cast<int64_t>(file->find(name)->data.size());
  if (!weight.compressed()) return out;
  out.type = code_type(*weight.format);
  CodeCounts counts;
  counts.add(weight.codes().codes);
  out.histogram = counts.histogram();
  return out;
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
  std::set<std::string> beside;  // what counts with its weight
  for (const std::string& name : onnx_weights(*file))
    for (const std::string& one : onnx_beside(*file, name)) beside.insert(one);
  for (const OnnxTensor& tensor : file->tensors()) {
    if (beside.contains(tensor.name)) continue;
    const bool weight = tensor.name.ends_with(".weight");
    out.tensors.push_back(weight ? inspect_weight(file, tensor) : as_it_stands(tensor));
    if (weight) out.parameters += out.tensors.back().elements();
  }
  return out;
}

Metadata metadata_of(const std::string& path) {
  return onnx_run_metadata(OnnxFile(model_in(path)));
}

}  // namespace

const FileReader kOnnxReader = {"onnx", recognises, stored, import, inspect, metadata_of};

}  // namespace terse
