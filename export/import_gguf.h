// Internal: a Llama out of a GGUF file.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "export/artifact.h"
#include "export/gguf.h"

namespace terse {

// Hugging Face's name of a stored tensor; empty if it is no part of a Llama.
std::string gguf_original_name(const std::string& stored);
// The decoded fp32 values, rows of q and k back in Hugging Face's order.
std::vector<float> gguf_values(const GgufTensor& tensor, int64_t head_size);

Artifact import_gguf(const std::shared_ptr<const GgufFile>& file);

}  // namespace terse
