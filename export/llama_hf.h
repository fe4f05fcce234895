// A Llama in Hugging Face's layout, dense: a folder with config.json (LlamaForCausalLM),
// model.safetensors or shards of it, tokenizer.json, tokenizer_config.json, tokenizer.model and
// generation_config.json, or the tensors alone.
//
// Compressed tensors are decoded to F32, which holds code times scale exactly; the others keep
// their type. compressed_tensors.h keeps codes as codes.
#pragma once
#include <cstdint>
#include <string>

#include "base/file_system.h"
#include "export/artifact.h"
#include "export/verdict.h"

namespace terse {

// Tensors beyond so many bytes are spread over several files; as transformers does.
constexpr int64_t kShardBytes = 5'000'000'000;

Fit hf_fit(const CodeFormat& format);

// model.safetensors (or any path): atomic.
void write_hf_tensors(FileSystem& fs, const Artifact& artifact, const std::string& path);
// All files of the folder, into one that exists.
void write_hf_files(FileSystem& fs, const Artifact& artifact, const std::string& folder,
                    int64_t shard_bytes = kShardBytes);
// The folder, atomic: written beside and renamed. `folder` must be missing or empty.
void write_hf(FileSystem& fs, const Artifact& artifact, const std::string& folder,
              int64_t shard_bytes = kShardBytes);

}  // namespace terse
