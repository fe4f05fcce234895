// A Hugging Face folder: one safetensors file or shards, dense or compressed-tensors.
#include <memory>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/hf_model.h"
#include "export/hf_tensors.h"
#include "export/import_hf.h"
#include "export/inspect_parts.h"

namespace terse {
namespace {

// The model's quantization_config, or "" where the folder has none or no config.json at all.
std::string quantization_of(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!FileSystem::real().exists(path)) return "";
  return read_hf_model(read_text(path, kMostHfConfig), path).quantization;
}

StoredTensors stored_compressed(const std::string& folder) {
  const auto artifact = std::make_shared<const Artifact>(import_hf(folder));
  StoredTensors all;
  for (const ArtifactWeight& weight : artifact->weights)
    all[weight.name] = {weight.shape, [artifact, &weight] { return effective_values(weight); },
                        weight.input};
  return all;
}

StoredTensors stored(const std::string& folder, const LlamaShape&) {
  if (!quantization_of(folder).empty()) return stored_compressed(folder);
  const auto tensors = std::make_shared<const HfTensors>(HfTensors::open(folder));
  tensors->verify_checksums(false);
  StoredTensors all;
  for (const std::string& name : tensors->names()) {
    const TensorView view = tensors->require(name);
    all[name] = {view.shape, [tensors, view, name] {
                   std::vector<float> values = dense_values(view, tensors->path(), name);
                   tensors->release(view.data);
                   return values;
                 }};
  }
  return all;
}

int64_t bytes_of_module(const HfTensors& tensors, const std::string& module) {
  int64_t bytes = 0;
  for (const char* part : {"weight", "weight_packed", "weight_scale", "weight_shape",
                           "weight_global_scale", "input_scale"})
    if (const auto view = tensors.find(fmt::format("{}.{}", module, part)))
      bytes += static_cast<int64_t>(view->data.size());
  return bytes;
}

void add_compressed(Inspection& out, const std::string& folder, const HfTensors& tensors) {
  const Artifact artifact = import_hf(folder);
  for (const ArtifactWeight& weight : artifact.weights) {
    const std::string module = weight.name.substr(0, weight.name.size() - 7);  // ".weight"
    InspectTensor tensor{weight.name,
                         std::string(dtype_name(weight.dtype)),
                         weight.shape,
                         bytes_of_module(tensors, module),
                         {}};
    if (weight.input) tensor.input = to_string(*weight.input);
    if (weight.compressed()) {
      tensor.type = code_type(*weight.format);
      CodeCounts counts;
      counts.add(weight.codes().codes);
      tensor.histogram = counts.histogram();
    }
    out.tensors.push_back(std::move(tensor));
  }
}

Inspection inspect(const std::string& folder) {
  const HfTensors tensors = HfTensors::open(folder);
  const std::string quantization = quantization_of(folder);
  Inspection out;
  out.path = folder;
  out.format = quantization.empty() ? kHfFolderReader.name : "compressed-tensors";
  out.checksums = checksum_state(tensors);
  for (const std::string& name : FileSystem::real().list(folder))
    out.bytes += file_bytes(fmt::format("{}/{}", folder, name));
  for (const auto& [key, value] : tensors.metadata())
    out.metadata.emplace_back(key, shortened(value));
  if (!quantization.empty()) out.metadata.emplace_back("quantization_config", quantization);
  try {
    if (!quantization.empty()) add_compressed(out, folder, tensors);
  } catch (const Error& e) {  // damaged, or a scheme that terse cannot run: tensors as they stand
    out.tensors.clear();
    out.metadata.emplace_back("not decoded", e.what());
  }
  if (out.tensors.empty())
    for (const std::string& name : tensors.names())
      out.tensors.push_back(inspect_tensor(name, tensors.require(name)));
  for (const InspectTensor& tensor : out.tensors) out.parameters += tensor.elements();
  return out;
}

Metadata metadata(const std::string& folder) {
  return run_metadata(HfTensors::open(folder).metadata());
}

}  // namespace

const FileReader kHfFolderReader = {"hf", is_hf_folder, stored, import_hf, inspect, metadata};

}  // namespace terse
