#include "trainer/packing.h"

#include <fmt/format.h>

#include "base/error.h"

namespace terse {
namespace {

struct Split {
  const char* part;
  int64_t rows;
};

std::vector<PackedPart> cut(const std::string& name, const std::string& packed,
                            const std::vector<Split>& splits) {
  const std::string prefix = name.substr(0, name.size() - packed.size());
  std::vector<PackedPart> parts;
  int64_t at = 0;
  for (const Split& split : splits) {
    parts.push_back({prefix + split.part + ".weight", at, at + split.rows});
    at += split.rows;
  }
  return parts;
}

}  // namespace

std::vector<PackedPart> parts_of(const LlamaOptions& o, const std::string& name, int64_t rows) {
  const std::string qkv = "qkv_proj.weight", gate_up = "gate_up_proj.weight";
  std::vector<PackedPart> parts = {{name, 0, rows}};
  const int64_t kv_rows = o.kv() * o.head_size();
  if (name.ends_with(qkv))
    parts = cut(name, qkv,
                {{"q_proj", o.heads * o.head_size()}, {"k_proj", kv_rows}, {"v_proj", kv_rows}});
  else if (name.ends_with(gate_up))
    parts = cut(name, gate_up, {{"gate_proj", o.hidden}, {"up_proj", o.hidden}});
  TERSE_CHECK(parts.back().end == rows, "{} has {} rows, its parts {}", name, rows,
              parts.back().end);
  return parts;
}

std::vector<WeightName> packed_weights(const LlamaOptions& o) {
  std::vector<WeightName> all = {{"model.embed_tokens.weight", {o.vocab, o.width}}};
  const int64_t qkv = (o.heads + 2 * o.kv()) * o.head_size();
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    all.push_back({layer + "input_layernorm.weight", {o.width}});
    all.push_back({layer + "self_attn.qkv_proj.weight", {qkv, o.width}});
    all.push_back({layer + "self_attn.o_proj.weight", {o.width, o.width}});
    all.push_back({layer + "post_attention_layernorm.weight", {o.width}});
    all.push_back({layer + "mlp.gate_up_proj.weight", {2 * o.hidden, o.width}});
    all.push_back({layer + "mlp.down_proj.weight", {o.width, o.hidden}});
  }
  all.push_back({"model.norm.weight", {o.width}});
  if (!o.tie) all.push_back({"lm_head.weight", {o.vocab, o.width}});
  return all;
}

}  // namespace terse
