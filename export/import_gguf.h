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
// The tensors that are weights: all but the scales that NVFP4 keeps beside them.
std::vector<const GgufTensor*> gguf_weights(const GgufFile& file);
// The decoded fp32 values of a weight, rows of q and k back in Hugging Face's order.
std::vector<float> gguf_values(const GgufFile& file, const GgufTensor& tensor, int64_t head_size);

// The texts that terse's writer put in: Artifact::metadata.
Metadata gguf_metadata(const GgufFile& file);
Artifact import_gguf(const std::shared_ptr<const GgufFile>& file);

}  // namespace terse
