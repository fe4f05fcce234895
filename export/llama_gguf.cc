#include "export/llama_gguf.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "base/error.h"
#include "export/gguf.h"
#include "export/parallel_rows.h"

namespace terse {
namespace {

// Hugging Face's name within a layer -> llama.cpp's.
const std::map<std::string_view, std::string_view>& layer_names() {
  static const std::map<std::string_view, std::string_view> names = {
      {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
  };
  return names;
}

std::string gguf_name(const std::string& name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  constexpr std::string_view kPrefix = "model.layers.", kSuffix = ".weight";
  const size_t dot = name.find('.', kPrefix.size());
  TERSE_CHECK(name.starts_with(kPrefix) && name.ends_with(kSuffix) && dot != name.npos, "{}", name);
  const std::string_view rest(name.data() + dot + 1, name.size() - dot - 1 - kSuffix.size());
  return fmt::format("blk.{}.{}.weight", name.substr(kPrefix.size(), dot - kPrefix.size()),
                     layer_names().at(rest));
}

// Stored row -> row of the weight; null: the same.
std::function<int64_t(int64_t)> row_order(const std::string& name, const LlamaShape& shape) {
  const bool rotary = name.find(".q_proj.") != name.npos || name.find(".k_proj.") != name.npos;
  if (!rotary) return nullptr;
  return [d = shape.head_size()](int64_t row) {
    const int64_t head = row / d, within = row % d;
    return head * d + within % 2 * (d / 2) + within / 2;
  };
}

// Dense rows in stored order, widened where the file's type is wider. Memory: the tensor.
ByteSource dense_source(const ArtifactWeight& weight, const GgufPacking& packing,
                        std::function<int64_t(int64_t)> row_of) {
  return [&weight, &packing, row_of = std::move(row_of)](const ByteSink& sink) {
    const bool widen = packing.type == GgufType::f32 && weight.dtype != DType::f32;
    if (!row_of && !widen) return weight.bytes(sink);
    const std::vector<std::byte> all = dense_bytes(weight);
    const int64_t rows = weight.shape.size() == 1 ? 1 : weight.shape[0];
    const int64_t columns = weight.shape.back();
    const auto row_bytes = static_cast<size_t>(columns * dtype_size(weight.dtype));
    const int64_t stored = columns * dtype_size(widen ? DType::f32 : weight.dtype);
    send_rows(rows, stored, columns, sink, [&](int64_t r, std::byte* out) {
      const auto from = static_cast<size_t>(row_of ? row_of(r) : r);
      const auto row = std::span(all).subspan(from * row_bytes, row_bytes);
      if (widen)
        widen_to_float(weight.dtype, row, reinterpret_cast<float*>(out));
      else
        std::memcpy(out, row.data(), row_bytes);
    });
  };
}

// `tensor_scale`, if not null, is told what the codes say of it.
ByteSource codes_source(const ArtifactWeight& weight, const GgufPacking& packing,
                        std::function<int64_t(int64_t)> row_of,
                        std::shared_ptr<float> tensor_scale) {
  return [&weight, &packing, row_of = std::move(row_of),
          tensor_scale = std::move(tensor_scale)](const ByteSink& sink) {
    const Codes codes = weight.codes();
    if (tensor_scale != nullptr) *tensor_scale = codes.tensor_scale;
    if (packing.pack != nullptr) return gguf_pack_codes(codes, packing, weight.name, row_of, sink);
    std::vector<float> values(codes.codes.size());
    codes.decode(values.data());
    if (!row_of) return sink(std::as_bytes(std::span(values)));
    const auto row_bytes = codes.columns * static_cast<int64_t>(sizeof(float));
    send_rows(codes.rows, row_bytes, codes.columns, sink, [&](int64_t r, std::byte* out) {
      std::memcpy(out, values.data() + row_of(r) * codes.columns, static_cast<size_t>(row_bytes));
    });
  };
}

// What the source of the codes, which stands before it in the file, has left.
GgufItem scale_item(const ArtifactWeight& weight, std::string name,
                    const std::shared_ptr<float>& tensor_scale) {
  name.replace(name.rfind(".weight"), std::string::npos, ".scale");
  return {std::move(name), {1}, GgufType::f32, [&weight, tensor_scale](const ByteSink& sink) {
            if (*tensor_scale == 0.0f) *tensor_scale = weight.codes().tensor_scale;
            sink(bytes_of(tensor_scale.get(), 1));
          }};
}

void add_items(std::vector<GgufItem>& items, const ArtifactWeight& weight, const LlamaShape& shape,
               const std::string& type) {
  const GgufPacking& packing = choose_packing(weight, type);
  const auto row_of = row_order(weight.name, shape);
  const auto tensor_scale =
      has_scale_tensor(packing) ? std::make_shared<float>(0.0f) : std::shared_ptr<float>();
  const std::string name = gguf_name(weight.name);
  items.push_back({name, weight.shape, packing.type,
                   weight.compressed() ? codes_source(weight, packing, row_of, tensor_scale)
                                       : dense_source(weight, packing, row_of)});
  if (tensor_scale != nullptr) items.push_back(scale_item(weight, name, tensor_scale));
}

uint32_t file_type(const Artifact& artifact, const std::string& type) {
  std::map<uint32_t, int64_t> elements;
  for (const ArtifactWeight& weight : artifact.weights)
    if (weight.shape.size() == 2)
      elements[choose_packing(weight, type).file_type] += weight.shape[0] * weight.shape[1];
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  return most->first;
}

void add_shape(GgufMetadata& out, const LlamaShape& s) {
  const auto put = [&](const char* key, int64_t value) {
    out.emplace_back(fmt::format("llama.{}", key), static_cast<uint32_t>(value));
  };
  put("block_count", s.layers);
  put("context_length", s.context);
  put("embedding_length", s.width);
  put("feed_forward_length", s.hidden);
  put("attention.head_count", s.heads);
  put("attention.head_count_kv", s.kv_heads);
  put("rope.dimension_count", s.head_size());
  put("vocab_size", s.vocab);
  out.emplace_back("llama.attention.layer_norm_rms_epsilon", static_cast<float>(s.norm_eps));
  out.emplace_back("llama.rope.freq_base", static_cast<float>(s.rope_theta));
}

void add_tokenizer(GgufMetadata& out, const TokenizerData& tokenizer) {
  const auto put = [&](const char* key, GgufValue value) {
    out.emplace_back(fmt::format("tokenizer.ggml.{}", key), std::move(value));
  };
  if (tokenizer.pieces.empty()) return put("model", std::string("none"));
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (const TokenPiece& piece : tokenizer.pieces) {
    texts.push_back(piece.text);
    scores.push_back(piece.score);
    types.push_back(static_cast<int32_t>(piece.type));
  }
  put("model", std::string("llama"));
  put("pre", std::string("default"));
  put("tokens", GgufArray(std::move(texts)));
  put("scores", GgufArray(std::move(scores)));
  put("token_type", GgufArray(std::move(types)));
  const auto put_id = [&](const char* key, int64_t id) {
    if (id >= 0) put(key, static_cast<uint32_t>(id));
  };
  put_id("bos_token_id", tokenizer.bos);
  put_id("eos_token_id", tokenizer.eos);
  put_id("unknown_token_id", tokenizer.unk);
  put_id("padding_token_id", tokenizer.pad);
  put("add_bos_token", tokenizer.add_bos);
  put("add_eos_token", false);
  put("add_space_prefix", tokenizer.add_space_prefix);
}

GgufMetadata make_metadata(const Artifact& artifact, const std::string& type) {
  const auto name = artifact.metadata.find("name");
  GgufMetadata out = {
      {"general.architecture", std::string("llama")},
      {"general.name", name == artifact.metadata.end() ? std::string("terse") : name->second},
      {"general.file_type", file_type(artifact, type)},
      {"general.quantization_version", uint32_t{2}},
      {"general.alignment", uint32_t{32}},
  };
  add_shape(out, artifact.shape);
  add_tokenizer(out, artifact.tokenizer);
  out.emplace_back("terse.act_bits", static_cast<uint32_t>(artifact.act_bits));
  for (const auto& [key, value] : artifact.metadata) out.emplace_back("terse." + key, value);
  return out;
}

[[noreturn]] void refuse(const ArtifactWeight& weight, const std::string& type,
                         const std::string& reason) {
  fail(ExitCode::usage, "{} cannot be stored as {} without change: {}", weight.name,
       type.empty() ? "gguf" : "gguf:" + type, reason);
}

Fit fit_of(const ArtifactWeight& weight, const GgufPacking& packing) {
  Fit fit =
      weight.compressed() ? gguf_fit(*weight.format, packing) : gguf_fit(weight.dtype, packing);
  if (fit.verdict != Verdict::impossible && weight.shape.back() % packing.block != 0)
    fit = {Verdict::impossible,
           fmt::format("its {} columns are no multiple of {}", weight.shape.back(), packing.block),
           1, 0};
  return fit;
}

const GgufPacking& smallest_exact(const ArtifactWeight& weight, const std::string& type) {
  std::string reason;
  for (const GgufPacking& packing : gguf_packings()) {
    const Fit fit = fit_of(weight, packing);
    if (fit.verdict != Verdict::impossible) return packing;
    if (reason.empty() && (packing.pack != nullptr) == weight.compressed()) reason = fit.reason;
  }
  refuse(weight, type, reason);
}

}  // namespace

const GgufPacking& choose_packing(const ArtifactWeight& weight, const std::string& type) {
  if (weight.shape.size() == 1) return gguf_packing(GgufType::f32);
  if (type.empty()) return smallest_exact(weight, type);
  for (const GgufPacking& packing : gguf_packings()) {
    if (packing.name != type) continue;
    // A type for codes says nothing of the weights that have none: embedding, ignored layers.
    if (packing.pack != nullptr && !weight.compressed()) return smallest_exact(weight, type);
    const Fit fit = fit_of(weight, packing);
    if (fit.verdict == Verdict::impossible) refuse(weight, type, fit.reason);
    return packing;
  }
  fail(ExitCode::usage, "gguf has no type \"{}\"", type);
}

void check_gguf(const Artifact& artifact, const std::string& type) {
  bool compressed = false, wants_codes = false;
  for (const GgufPacking& packing : gguf_packings())
    wants_codes |= packing.name == type && packing.pack != nullptr;
  for (const ArtifactWeight& weight : artifact.weights) {
    compressed |= weight.compressed();
    choose_packing(weight, type);
  }
  if (wants_codes && !compressed)
    fail(ExitCode::usage,
         "gguf:{} needs codes, but this model was trained without; quantizing it now would change "
         "it. Export gguf, or train with [qat] target = \"gguf:{}\"",
         type, type);
}

void write_gguf(FileSystem& fs, const Artifact& artifact, const std::string& type,
                const std::string& path) {
  artifact.validate();
  check_gguf(artifact, type);
  std::vector<GgufItem> items;
  for (const ArtifactWeight& weight : artifact.weights)
    add_items(items, weight, artifact.shape, type);
  write_gguf_file(fs, path, make_metadata(artifact, type), items);
}

}  // namespace terse
