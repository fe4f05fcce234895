// A Llama in Hugging Face's layout: a folder with config.json (LlamaForCausalLM),
// model.safetensors, tokenizer.model, tokenizer_config.json and generation_config.json, or the
// tensors alone.
//
// All tensors are dense. Compressed ones are decoded to F32, which holds code times scale exactly;
// the others keep their type.
#pragma once
#include <string>

#include "base/file_system.h"
#include "export/artifact.h"
#include "export/verdict.h"

namespace terse {

Fit hf_fit(const CodeFormat& format);

// model.safetensors (or any path): atomic.
void write_hf_tensors(FileSystem& fs, const Artifact& artifact, const std::string& path);
// The folder, atomic: written beside and renamed. `folder` must be missing or empty.
void write_hf(FileSystem& fs, const Artifact& artifact, const std::string& folder);

}  // namespace terse
