#include "export/hf_folder.h"

#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "export/hf_config.h"
#include "export/hf_tokenizer.h"

namespace terse {
namespace {

using nlohmann::ordered_json;

int64_t bytes_of_item(const SafetensorsItem& item) {
  int64_t bytes = dtype_size(item.dtype);
  for (int64_t d : item.shape) bytes *= d;
  return bytes;
}

using Shard = std::vector<SafetensorsItem>;

std::vector<Shard> cut(std::vector<SafetensorsItem> items, int64_t most) {
  std::vector<Shard> shards(1);
  int64_t filled = 0;
  for (SafetensorsItem& item : items) {
    const int64_t bytes = bytes_of_item(item);
    if (filled > 0 && filled + bytes > most) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().push_back(std::move(item));
  }
  return shards;
}

void write_index(FileSystem& fs, const std::string& path, const std::vector<Shard>& shards,
                 const std::vector<std::string>& names) {
  int64_t total = 0;
  std::map<std::string, std::string> map;
  for (size_t i = 0; i < shards.size(); ++i)
    for (const SafetensorsItem& item : shards[i]) {
      total += bytes_of_item(item);
      map[item.name] = names[i];
    }
  const ordered_json json = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_atomically(fs, path, json.dump(2) + "\n");
}

void write_tensors(FileSystem& fs, const std::string& folder, HfFolder& content,
                   const Metadata& metadata) {
  const std::vector<Shard> shards = cut(std::move(content.items), content.shard_bytes);
  if (shards.size() == 1)
    return write_safetensors(fs, folder + "/model.safetensors", shards.front(), metadata);
  std::vector<std::string> names;
  for (size_t i = 0; i < shards.size(); ++i) {
    names.push_back(fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    write_safetensors(fs, fmt::format("{}/{}", folder, names.back()), shards[i], metadata);
  }
  write_index(fs, folder + "/model.safetensors.index.json", shards, names);
}

// What the tensors' own checksums do not cover.
void write_small_files(FileSystem& fs, const std::string& folder, const Artifact& artifact,
                       const HfFolder& content) {
  ordered_json sums = ordered_json::object();
  const auto write = [&](const std::string& name, const std::string& text) {
    write_atomically(fs, fmt::format("{}/{}", folder, name), text);
    sums[name] = checksum_hex(checksum(std::as_bytes(std::span(text))));
  };
  write("config.json", hf_config(artifact, content.dtype, content.quantization));
  write("generation_config.json", hf_generation_config(artifact));
  if (!artifact.tokenizer.pieces.empty()) {
    write("tokenizer.json", hf_tokenizer(artifact.tokenizer));
    write("tokenizer_config.json", hf_tokenizer_config(artifact.tokenizer, artifact.shape.context));
  }
  if (!artifact.tokenizer.model.empty()) write("tokenizer.model", artifact.tokenizer.model);
  write_atomically(fs, folder + "/terse.json",
                   ordered_json{{"format", "terse folder"}, {"xxh3", sums}}.dump(2) + "\n");
}

}  // namespace

Metadata hf_metadata(const Artifact& artifact) {
  Metadata metadata = {{"format", "pt"}, {"terse.act_bits", fmt::format("{}", artifact.act_bits)}};
  for (const auto& [key, value] : artifact.metadata) metadata["terse." + key] = value;
  return metadata;
}

void write_hf_folder(FileSystem& fs, const Artifact& artifact, HfFolder content,
                     const std::string& folder) {
  write_tensors(fs, folder, content, hf_metadata(artifact));
  write_small_files(fs, folder, artifact, content);
}

}  // namespace terse
