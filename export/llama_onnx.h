// A Llama as an ONNX graph that ONNX Runtime and ONNX Runtime GenAI run: ids and a key-value cache
// in, logits and the longer cache out.
//
// Inputs and outputs have GenAI's names: input_ids and attention_mask (int64),
// past_key_values.N.key and .value, logits, present.N.key and .value (fp32). Attention with rotary
// embedding is GroupQueryAttention, norms SimplifiedLayerNormalization, both of ONNX Runtime;
// activations are fp32, rounded before a layer that rounds its input as export/onnx_input.h says. A
// weight is an initializer of Hugging Face's name: compressed ones as
// export/onnx_pack.h says, dense ones in their own type [out, in], widened and transposed by the
// graph.
#pragma once
#include <cstdint>
#include <string>

#include "base/file_system.h"
#include "export/artifact.h"

namespace terse {

inline constexpr const char* kOnnxFile = "model.onnx";
// Weights of more than this go to model.onnx.data.
inline constexpr int64_t kOnnxInlineLimit = int64_t{32} << 20;

// Error(usage) for what write_llama_onnx would refuse. `type` as in onnx_fit.
void check_onnx(const Artifact& artifact, const std::string& type);

// A folder with model.onnx, genai_config.json and, where it is known, tokenizer.model. Atomic;
// `folder` must be missing or empty.
void write_llama_onnx(FileSystem& fs, const Artifact& artifact, const std::string& type,
                      const std::string& folder, int64_t inline_limit = kOnnxInlineLimit);

}  // namespace terse
