#include "export/genai_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "export/llama_onnx.h"
#include "export/onnx_input.h"

namespace terse {

using nlohmann::ordered_json;

std::string genai_config(const Artifact& artifact, const std::string& type) {
  const LlamaShape& s = artifact.shape;
  const auto id = [](int64_t token) { return std::max(token, int64_t{0}); };
  const ordered_json inputs = {{"input_ids", "input_ids"},
                               {"attention_mask", "attention_mask"},
                               {"past_key_names", "past_key_values.%d.key"},
                               {"past_value_names", "past_key_values.%d.value"}};
  const ordered_json outputs = {{"logits", "logits"},
                                {"present_key_names", "present.%d.key"},
                                {"present_value_names", "present.%d.value"}};
  ordered_json options = {{"log_id", "onnxruntime-genai"},
                          {"provider_options", ordered_json::array()}};
  // Else ONNX Runtime replaces DequantizeLinear and MatMul by a product with 8-bit activations.
  if (type == "int8") options["session.qdq_matmulnbits_accuracy_level"] = "1";
  // Else they saturate in 16 bits on x64 processors without VNNI.
  if (onnx_multiplies_codes(artifact, type)) options["session.x64quantprecision"] = "1";
  const ordered_json decoder = {{"session_options", options},
                                {"filename", kOnnxFile},
                                {"head_size", s.head_size()},
                                {"hidden_size", s.width},
                                {"inputs", inputs},
                                {"outputs", outputs},
                                {"num_attention_heads", s.heads},
                                {"num_hidden_layers", s.layers},
                                {"num_key_value_heads", s.kv_heads}};
  const ordered_json model = {{"bos_token_id", id(artifact.tokenizer.bos)},
                              {"context_length", s.context},
                              {"decoder", decoder},
                              {"eos_token_id", id(artifact.tokenizer.eos)},
                              {"pad_token_id", id(artifact.tokenizer.pad)},
                              {"type", "llama"},
                              {"vocab_size", s.vocab}};
  const ordered_json search = {{"do_sample", false},
                               {"max_length", s.context},
                               {"min_length", 0},
                               {"num_beams", 1},
                               {"past_present_share_buffer", false}};
  return ordered_json{{"model", model}, {"search", search}}.dump(2) + "\n";
}

}  // namespace terse
