// A safetensors file of dense tensors, alone or in a Hugging Face folder.
#include <memory>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import_hf.h"
#include "export/inspect_parts.h"
#include "export/safetensors.h"

namespace terse {
namespace {

std::string in_folder(const std::string& path) {
  return path + "/model.safetensors";
}

bool is_file(const std::string& path) {
  return starts_with_bytes(path, 8, "{");
}

bool is_folder(const std::string& path) {
  return FileSystem::real().exists(in_folder(path));
}

StoredTensors stored_in_file(const std::string& path, const LlamaShape&) {
  const auto file = std::make_shared<SafetensorsFile>(path);
  file->verify_checksums(false);
  StoredTensors all;
  for (const std::string& name : file->names()) {
    const TensorView view = file->require(name);
    all[name] = {
        view.shape, [file, view, name] {
          if (view.dtype != DType::f32 && view.dtype != DType::f16 && view.dtype != DType::bf16)
            fail(ExitCode::invalid_file, "{}: tensor \"{}\" has type {}", file->path(), name,
                 dtype_name(view.dtype));
          std::vector<float> values(static_cast<size_t>(view.numel()));
          widen_to_float(view.dtype, view.data, values.data());
          return values;
        }};
  }
  return all;
}

StoredTensors stored_in_folder(const std::string& path, const LlamaShape& shape) {
  return stored_in_file(in_folder(path), shape);
}

// Whole numbers of one byte are codes: `terse lab encode` and int8 checkpoints.
std::map<int, int64_t> histogram(const TensorView& view) {
  CodeCounts counts;
  if (view.dtype == DType::i8) counts.add(view.as<int8_t>());
  return counts.histogram();
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
    const TensorView view = file.require(name);
    out.tensors.push_back({name, std::string(dtype_name(view.dtype)), view.shape,
                           static_cast<int64_t>(view.data.size()), histogram(view)});
    out.parameters += view.numel();
  }
  return out;
}

Inspection inspect_folder(const std::string& path) {
  return inspect_safetensors(in_folder(path));
}

Metadata metadata_of_file(const std::string& path) {
  return run_metadata(SafetensorsFile(path));
}

Metadata metadata_of_folder(const std::string& path) {
  return metadata_of_file(in_folder(path));
}

}  // namespace

const FileReader kHfFolderReader = {"safetensors", is_folder,      stored_in_folder,
                                    import_hf,     inspect_folder, metadata_of_folder};
const FileReader kSafetensorsReader = {
    "safetensors", is_file, stored_in_file, nullptr, inspect_safetensors, metadata_of_file};

}  // namespace terse
