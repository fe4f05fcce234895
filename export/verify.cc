#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/file_kind.h"
#include "export/import.h"
#include "export/import_gguf.h"
#include "export/import_hf.h"

namespace terse {
namespace {

// A tensor of the file under verification: its shape, and its values when asked for.
struct Stored {
  std::vector<int64_t> shape;
  std::function<std::vector<float>()> values;
};
using StoredTensors = std::map<std::string, Stored, std::less<>>;

StoredTensors stored_in_gguf(const std::string& path, int64_t head_size) {
  const auto file = std::make_shared<GgufFile>(path);
  file->verify_checksums(false);
  StoredTensors all;
  for (const GgufTensor& tensor : file->tensors()) {
    const std::string name = gguf_original_name(tensor.name);
    all[name.empty() ? tensor.name : name] = {
        tensor.shape, [file, &tensor, head_size] { return gguf_values(tensor, head_size); }};
  }
  return all;
}

StoredTensors stored_in_safetensors(const std::string& path) {
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

StoredTensors stored_in(const std::string& path, int64_t head_size) {
  switch (file_kind(path)) {
    case FileKind::gguf:
      return stored_in_gguf(path, head_size);
    case FileKind::safetensors:
      return stored_in_safetensors(path);
    case FileKind::hf_folder:
      return stored_in_safetensors(path + "/model.safetensors");
  }
  return {};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

VerifyResult verify_file(const std::string& path, const Artifact& artifact) {
  StoredTensors stored = stored_in(path, artifact.shape.head_size());
  VerifyResult result;
  for (const ArtifactWeight& weight : artifact.weights) {
    ++result.tensors;
    const auto found = stored.find(weight.name);
    const bool equal = found != stored.end() && found->second.shape == weight.shape &&
                       same_bits(found->second.values(), effective_values(weight));
    if (equal) ++result.equal;
    if (!equal) result.different.push_back(weight.name);
    if (found != stored.end()) stored.erase(found);
  }
  if (!stored.empty())
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is no part of the model", path,
         stored.begin()->first);
  return result;
}

std::string to_json(const VerifyResult& result) {
  return nlohmann::ordered_json{
      {"tensors", result.tensors}, {"equal", result.equal}, {"different", result.different}}
      .dump();
}

Artifact read_artifact(const std::string& path) {
  switch (file_kind(path)) {
    case FileKind::gguf: {
      const auto file = std::make_shared<GgufFile>(path);
      file->verify_checksums(false);
      return import_gguf(file);
    }
    case FileKind::hf_folder:
      return import_hf(path);
    case FileKind::safetensors:
      fail(ExitCode::invalid_file,
           "{}: a safetensors file says nothing of the model; name the folder with its config.json",
           path);
  }
  TERSE_CHECK(false, "{}", path);
}

}  // namespace terse
