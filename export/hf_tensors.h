// Internal: the tensors of a Hugging Face folder, in one safetensors file or in shards.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "export/safetensors.h"

namespace terse {

class HfTensors {
 public:
  // model.safetensors, or the files that model.safetensors.index.json names. Error(invalid_file)
  // where the index and the files disagree or a name is there twice; headers are read, no data.
  static HfTensors open(const std::string& folder);
  HfTensors(std::vector<SafetensorsFile> files, std::string label);

  const std::string& path() const { return label_; }
  const Metadata& metadata() const { return files_.front().metadata(); }
  std::vector<std::string> names() const;  // of all files, in their order
  std::optional<TensorView> find(std::string_view name) const;
  TensorView require(std::string_view name) const;
  TensorView require(std::string_view name, DType dtype, const std::vector<int64_t>& shape) const;
  void release(std::span<const std::byte> bytes) const;  // as SafetensorsFile
  bool has_checksums() const;
  // Of all tensors; of a folder also of the files that terse.json lists.
  void verify_checksums(bool required = true) const;

 private:
  const SafetensorsFile* file_of(std::string_view name) const;
  std::vector<SafetensorsFile> files_;  // at least one
  std::map<std::string, size_t, std::less<>> places_;
  std::string label_;
  std::string folder_;  // empty: not from a folder
};

// Whether `path` is a folder with such tensors.
bool is_hf_folder(const std::string& path);

}  // namespace terse
