#include "export/shapes.h"

#include "base/error.h"

namespace terse {

void check_shape(const LlamaShape& s) {
  const bool positive = s.layers > 0 && s.width > 0 && s.heads > 0 && s.kv_heads > 0 &&
                        s.hidden > 0 && s.context > 0 && s.vocab > 0;
  if (!positive || s.width % s.heads != 0 || s.heads % s.kv_heads != 0 || s.head_size() % 2 != 0)
    fail(ExitCode::invalid_file,
         "a model of {} layers, width {}, {} heads, {} kv heads, hidden {}, context {}, vocabulary "
         "{} is not possible",
         s.layers, s.width, s.heads, s.kv_heads, s.hidden, s.context, s.vocab);
}

void check_shape(const VitShape& s) {
  const bool positive = s.layers > 0 && s.width > 0 && s.heads > 0 && s.hidden > 0 && s.patch > 0 &&
                        s.channels > 0 && s.image_height > 0 && s.image_width > 0 &&
                        s.classes > 0 && s.top > 0;
  if (!positive || s.width % s.heads != 0 || s.image_height % s.patch != 0 ||
      s.image_width % s.patch != 0)
    fail(ExitCode::invalid_file,
         "a vision transformer of {} layers, width {}, {} heads, hidden {} on {} x {} pixels in {} "
         "channels, patches of {} x {} and {} classes is not possible",
         s.layers, s.width, s.heads, s.hidden, s.image_height, s.image_width, s.channels, s.patch,
         s.patch, s.classes);
}

std::vector<WeightName> llama_weight_names(const LlamaShape& s) {
  const int64_t kv = s.kv_heads * s.head_size();
  std::vector<WeightName> names = {{"model.embed_tokens.weight", {s.vocab, s.width}}};
  for (int64_t i = 0; i < s.layers; ++i) {
    const auto add = [&](const char* name, std::vector<int64_t> shape) {
      names.push_back({fmt::format("model.layers.{}.{}.weight", i, name), std::move(shape)});
    };
    add("input_layernorm", {s.width});
    add("self_attn.q_proj", {s.width, s.width});
    add("self_attn.k_proj", {kv, s.width});
    add("self_attn.v_proj", {kv, s.width});
    add("self_attn.o_proj", {s.width, s.width});
    add("post_attention_layernorm", {s.width});
    add("mlp.gate_proj", {s.hidden, s.width});
    add("mlp.up_proj", {s.hidden, s.width});
    add("mlp.down_proj", {s.width, s.hidden});
  }
  names.push_back({"model.norm.weight", {s.width}});
  if (!s.tie) names.push_back({"lm_head.weight", {s.vocab, s.width}});
  return names;
}

std::vector<WeightName> vit_weight_names(const VitShape& s) {
  std::vector<WeightName> names = {
      {"cls_token", {1, 1, s.width}},
      {"pos_embed", {1, s.patches() + 1, s.width}},
      {"patch_embed.proj.weight", {s.width, s.channels, s.patch, s.patch}},
      {"patch_embed.proj.bias", {s.width}}};
  const auto add = [&](const std::string& prefix, std::vector<int64_t> shape) {
    names.push_back({prefix + ".weight", shape});
    names.push_back({prefix + ".bias", {shape.front()}});
  };
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string block = fmt::format("blocks.{}.", i);
    add(block + "norm1", {s.width});
    add(block + "attn.qkv", {3 * s.width, s.width});
    add(block + "attn.proj", {s.width, s.width});
    add(block + "norm2", {s.width});
    add(block + "mlp.fc1", {s.hidden, s.width});
    add(block + "mlp.fc2", {s.width, s.hidden});
  }
  add("norm", {s.width});
  add("head", {s.classes, s.width});
  return names;
}

}  // namespace terse
