// Internal: the files of a Hugging Face folder, whatever its tensors are.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "export/artifact.h"
#include "export/safetensors.h"

namespace terse {

struct HfFolder {
  std::vector<SafetensorsItem> items;  // in forward order: shards are cut from it
  std::string dtype;                   // of config.json
  std::string quantization;            // JSON of quantization_config, or empty
  // Beyond it tensors are spread over model-00001-of-0000N.safetensors, none larger unless a single
  // tensor is, with model.safetensors.index.json.
  int64_t shard_bytes = 0;
};

// All of them, into a folder that exists (export/folder.h makes it atomic).
void write_hf_folder(FileSystem& fs, const Artifact& artifact, HfFolder content,
                     const std::string& folder);

// The metadata of every safetensors file of an artifact.
Metadata hf_metadata(const Artifact& artifact);

}  // namespace terse
