#include <array>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/gguf.h"
#include "export/import_gguf.h"
#include "export/inspect_parts.h"

namespace terse {
namespace {

constexpr size_t kManyElements = 8;

bool recognises(const std::string& path) {
  return starts_with_bytes(path, 0, "GGUF");
}

StoredTensors stored(const std::string& path, const LlamaShape& shape) {
  const auto file = std::make_shared<GgufFile>(path);
  file->verify_checksums(false);
  StoredTensors all;
  for (const GgufTensor* tensor : gguf_weights(*file)) {
    const std::string name = gguf_original_name(tensor->name);
    all[name.empty() ? tensor->name : name] = {
        tensor->shape,
        [file, tensor, d = shape.head_size()] { return gguf_values(*file, *tensor, d); }};
  }
  return all;
}

Artifact import(const std::string& path) {
  const auto file = std::make_shared<GgufFile>(path);
  file->verify_checksums(false);
  return import_gguf(file);
}

std::string describe(const GgufArray& array) {
  return std::visit(
      [](const auto& list) {
        std::string text = "[";
        for (size_t i = 0; i < std::min(list.size(), kManyElements); ++i) {
          text += fmt::format("{}{}", i == 0 ? "" : ", ", list[i]);
        }
        if (list.size() > kManyElements) text += fmt::format(", ... {} in all", list.size());
        return text + "]";
      },
      array);
}

std::string describe(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, GgufArray>)
          return describe(v);
        else
          return fmt::format("{}", v);
      },
      value);
}

// Counts codes block by block: no memory for the whole tensor.
std::map<int, int64_t> histogram(const GgufTensor& tensor, const GgufBlockInfo& info) {
  if (info.split == nullptr) return {};
  CodeCounts counts;
  std::vector<int8_t> codes(static_cast<size_t>(info.block));
  std::vector<float> scales(static_cast<size_t>(info.block / info.group));
  for (size_t at = 0; at < tensor.data.size(); at += static_cast<size_t>(info.bytes)) {
    info.split(tensor.data.data() + at, codes.data(), scales.data());
    counts.add(codes);
  }
  return counts.histogram();
}

Inspection inspect(const std::string& path) {
  const GgufFile file(path);
  Inspection out;
  out.path = path;
  out.format = kGgufReader.name;
  out.checksums = checksum_state(file);
  out.bytes = file_bytes(path);
  for (const auto& [key, value] : file.metadata())
    out.metadata.emplace_back(key, shortened(describe(value)));
  for (const GgufTensor& tensor : file.tensors()) {
    const GgufBlockInfo& info = *gguf_block_info(tensor.type);
    out.tensors.push_back({tensor.name, info.name, tensor.shape,
                           static_cast<int64_t>(tensor.data.size()), histogram(tensor, info)});
  }
  for (const GgufTensor* tensor : gguf_weights(file)) out.parameters += tensor->numel();
  return out;
}

Metadata metadata(const std::string& path) {
  return gguf_metadata(GgufFile(path));
}

}  // namespace

const FileReader kGgufReader = {"gguf", recognises, stored, import, inspect, metadata};

}  // namespace terse
