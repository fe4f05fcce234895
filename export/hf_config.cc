#include "export/hf_config.h"

#include <nlohmann/json.hpp>

namespace terse {
namespace {

using nlohmann::ordered_json;

void set_ids(ordered_json& json, const TokenizerData& tokenizer) {
  const auto set = [&](const char* key, int64_t id) {
    json[key] = id >= 0 ? ordered_json(id) : ordered_json(nullptr);
  };
  set("bos_token_id", tokenizer.bos);
  set("eos_token_id", tokenizer.eos);
  set("pad_token_id", tokenizer.pad);
}

}  // namespace

std::string hf_config(const Artifact& artifact, const std::string& dtype,
                      const std::string& quantization) {
  const LlamaShape& s = artifact.shape;
  ordered_json json = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"dtype", dtype},
      {"head_dim", s.head_size()},
      {"hidden_act", "silu"},
      {"hidden_size", s.width},
      {"initializer_range", 0.02},
      {"intermediate_size", s.hidden},
      {"max_position_embeddings", s.context},
      {"mlp_bias", false},
      {"num_attention_heads", s.heads},
      {"num_hidden_layers", s.layers},
      {"num_key_value_heads", s.kv_heads},
      {"rms_norm_eps", s.norm_eps},
      {"rope_theta", s.rope_theta},
      {"tie_word_embeddings", s.tie},
      {"torch_dtype", dtype},
      {"use_cache", true},
      {"vocab_size", s.vocab},
  };
  set_ids(json, artifact.tokenizer);
  if (!quantization.empty()) json["quantization_config"] = ordered_json::parse(quantization);
  return json.dump(2) + "\n";
}

std::string hf_generation_config(const Artifact& artifact) {
  ordered_json json = {{"do_sample", false}, {"max_length", artifact.shape.context}};
  set_ids(json, artifact.tokenizer);
  return json.dump(2) + "\n";
}

}  // namespace terse
