// A safetensors file of dense tensors.
#include <memory>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import_hf.h"
#include "export/inspect_parts.h"
#include "export/safetensors.h"

namespace terse {
namespace {

bool is_file(const std::string& path) {
  return starts_with_bytes(path, 8, "{");
}

StoredTensors stored_in_file(const std::string& path, const LlamaShape&) {
  const auto file = std::make_shared<SafetensorsFile>(path);
  file->verify_checksums(false);
  StoredTensors all;
  for (const std::string& name : file->names()) {
    const TensorView view = file->require(name);
    all[name] = {view.shape, [file, view, name] {
                   std::vector<float> values = dense_values(view, file->path(), name);
                   file->release(view.data);
                   return values;
                 }};
  }
  return all;
}

Inspection inspect_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  Inspection out;
  out.path = path;
  out.format = kSafetensorsReader.name;
  out.checksums = checksum_state(file);
  out.bytes = file_bytes(path);
  for (const auto& [key, value] : file.metadata()) out.metadata.emplace_back(key, shortened(value));
  for (const std::string& name : file.names()) {
    out.tensors.push_back(inspect_tensor(name, file.require(name)));
    out.parameters += file.require(name).numel();
  }
  return out;
}

Metadata metadata(const std::string& path) {
  return run_metadata(SafetensorsFile(path).metadata());
}

}  // namespace

std::vector<float> dense_values(const TensorView& view, const std::string& path,
                                const std::string& name) {
  if (view.dtype != DType::f32 && view.dtype != DType::f16 && view.dtype != DType::bf16)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" has type {}", path, name,
         dtype_name(view.dtype));
  std::vector<float> values(static_cast<size_t>(view.numel()));
  widen_to_float(view.dtype, view.data, values.data());
  return values;
}

// Whole numbers of one byte are codes: `terse lab encode` and int8 checkpoints.
InspectTensor inspect_tensor(const std::string& name, const TensorView& view) {
  CodeCounts counts;
  if (view.dtype == DType::i8) counts.add(view.as<int8_t>());
  return {name, std::string(dtype_name(view.dtype)), view.shape,
          static_cast<int64_t>(view.data.size()), counts.histogram()};
}

const FileReader kSafetensorsReader = {"safetensors",       is_file, stored_in_file, nullptr,
                                       inspect_safetensors, metadata};

}  // namespace terse
