#include "export/llama_onnx.h"

#include <cmath>
#include <map>
#include <utility>

#include "base/error.h"
#include "export/folder.h"
#include "export/genai_config.h"
#include "export/latest_codes.h"
#include "export/onnx.h"
#include "export/onnx_input.h"
#include "export/onnx_pack.h"

namespace terse {
namespace {

constexpr const char* kRuntime = "com.microsoft";  // the domain of ONNX Runtime's own operators

OnnxType onnx_type(DType dtype) {
  if (dtype == DType::bf16) return OnnxType::bf16;
  return dtype == DType::f16 ? OnnxType::f16 : OnnxType::f32;
}

// Builds nodes one behind the other; every node's first output carries the node's name.
class Graph {
 public:
  Graph(const Artifact& artifact, std::string type)
      : artifact_(artifact),
        shape_(artifact.shape),
        type_(std::move(type)),
        pairs_(type_ != "int8" || onnx_multiplies_codes(artifact, type_)) {}

  OnnxModel build() {
    model_.opsets = {{"", 21}, {kRuntime, 1}};
    for (const auto& [key, value] : artifact_.metadata) model_.metadata["terse." + key] = value;
    model_.metadata["terse.act_bits"] = fmt::format("{}", artifact_.act_bits);
    model_.metadata["terse.rope_theta"] = fmt::format("{}", shape_.rope_theta);
    model_.metadata["terse.norm_eps"] = fmt::format("{}", shape_.norm_eps);
    add_ports();
    add_lengths();
    add_rotary();
    std::string x = embedding();
    for (int64_t i = 0; i < shape_.layers; ++i) x = layer(x, i);
    x = norm("final_norm", x, "model.norm.weight");
    const std::string head = shape_.tie ? "model.embed_tokens.weight" : "lm_head.weight";
    linear("logits", x, head);
    return std::move(model_);
  }

 private:
  std::string node(const char* op, std::string name, std::vector<std::string> inputs,
                   std::map<std::string, OnnxAttribute> attributes = {}, const char* domain = "") {
    model_.nodes.push_back({op, std::move(inputs), {name}, std::move(attributes), domain, name});
    return name;
  }

  std::string cache_name(const char* kind, int64_t layer, const char* part) const {
    return fmt::format("{}.{}.{}", kind, layer, part);
  }

  void add_ports() {
    const auto whole = [](const char* name, const char* length) {
      return OnnxPort{name, OnnxType::i64, {"batch_size", length}};
    };
    model_.inputs = {whole("input_ids", "sequence_length"),
                     whole("attention_mask", "total_sequence_length")};
    model_.outputs = {{"logits", OnnxType::f32, {"batch_size", "sequence_length", shape_.vocab}}};
    const auto cache = [&](const char* kind, const char* length, std::vector<OnnxPort>& ports) {
      for (int64_t i = 0; i < shape_.layers; ++i)
        for (const char* part : {"key", "value"})
          ports.push_back({cache_name(kind, i, part),
                           OnnxType::f32,
                           {"batch_size", shape_.kv_heads, length, shape_.head_size()}});
    };
    cache("past_key_values", "past_sequence_length", model_.inputs);
    cache("present", "total_sequence_length", model_.outputs);
  }

  template <typename T>
  std::string constant(const std::string& name, OnnxType type, std::vector<int64_t> shape,
                       std::vector<T> values) {
    model_.initializers.push_back(
        {name, type, std::move(shape), [values = std::move(values)](const ByteSink& sink) {
           sink(std::as_bytes(std::span(values)));
         }});
    return name;
  }

  // What attention needs of the mask: the last position of each sequence, and the longest length.
  void add_lengths() {
    const auto one = constant<int64_t>("constants.one", OnnxType::i64, {1}, {1});
    const auto index = constant<int64_t>("constants.length_axis", OnnxType::i64, {}, {1});
    const auto sums =
        node("ReduceSum", "lengths", {"attention_mask", one}, {{"keepdims", int64_t{0}}});
    const auto last = node("Sub", "last_positions", {sums, one});
    node("Cast", "seqlens_k", {last}, {{"to", static_cast<int64_t>(OnnxType::i32)}});
    const auto sizes = node("Shape", "mask_shape", {"attention_mask"});
    const auto total = node("Gather", "mask_length", {sizes, index}, {{"axis", int64_t{0}}});
    node("Cast", "total_sequence_length", {total}, {{"to", static_cast<int64_t>(OnnxType::i32)}});
  }

  void add_rotary() {
    const int64_t half = shape_.head_size() / 2;
    std::vector<float> cosine, sine;
    for (int64_t position = 0; position < shape_.context; ++position)
      for (int64_t i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(position) *
            std::pow(shape_.rope_theta,
                     -2.0 * static_cast<double>(i) / static_cast<double>(shape_.head_size()));
        cosine.push_back(static_cast<float>(std::cos(angle)));
        sine.push_back(static_cast<float>(std::sin(angle)));
      }
    constant("cos_cache", OnnxType::f32, {shape_.context, half}, std::move(cosine));
    constant("sin_cache", OnnxType::f32, {shape_.context, half}, std::move(sine));
  }

  std::string widened(const std::string& name, const std::string& value, DType dtype) {
    if (dtype == DType::f32) return value;
    return node("Cast", name + ".f32", {value}, {{"to", static_cast<int64_t>(OnnxType::f32)}});
  }

  // The initializer of a dense weight, once: a tied embedding is used twice.
  const ArtifactWeight& dense(const std::string& name) {
    const ArtifactWeight& weight = artifact_.weight(name);
    for (const OnnxItem& item : model_.initializers)
      if (item.name == name) return weight;
    model_.initializers.push_back({name, onnx_type(weight.dtype), weight.shape, weight.bytes});
    return weight;
  }

  std::string embedding() {
    const std::string name = "model.embed_tokens.weight";
    const ArtifactWeight& weight = dense(name);
    return widened("embedding", node("Gather", "embedding", {name, "input_ids"}), weight.dtype);
  }

  std::string norm(const std::string& name, const std::string& x, const std::string& weight) {
    const std::string scale = widened(weight, weight, dense(weight).dtype);
    return node("SimplifiedLayerNormalization", name, {x, scale},
                {{"axis", int64_t{-1}},
                 {"epsilon", static_cast<float>(shape_.norm_eps)},
                 {"stash_type", int64_t{1}}});
  }

  // `x` as the layer of `w` takes it, rounded once for layers that round it alike.
  std::string input_of(const std::string& name, const std::string& x, const ArtifactWeight& w) {
    if (!w.input || !onnx_rounds(*w.input)) return x;
    const std::string format = to_string(*w.input);
    model_.metadata["terse.input/" + w.name] = format;
    std::string& rounded = rounded_[{x, format}];
    if (rounded.empty()) {
      rounded = name + ".input";
      add_rounded_input(model_, rounded, x, *w.input, pairs_ && onnx_int8_pair(*w.input));
    }
    return rounded;
  }

  std::string linear(const std::string& name, const std::string& values,
                     const std::string& weight) {
    const ArtifactWeight& w = artifact_.weight(weight);
    const std::string x = input_of(name, values, w);
    if (!w.compressed()) {
      const std::string matrix = widened(weight, weight, dense(weight).dtype);
      const std::string turned = node("Transpose", weight + ".transposed", {matrix},
                                      {{"perm", std::vector<int64_t>{1, 0}}});
      return node("MatMul", name, {x, turned});
    }
    const OnnxPacking packing = onnx_packing(*w.format, type_, w.shape[1]);
    return packing.qdq ? linear_qdq(name, x, w, packing) : linear_nbits(name, x, w, packing);
  }

  void add_codes(const ArtifactWeight& w, const OnnxPacking& packing, OnnxType type,
                 std::vector<int64_t> codes, std::vector<int64_t> scales) {
    model_.initializers.push_back(
        {w.name, type, std::move(codes), [latest = latest_, &w, packing](const auto& sink) {
           onnx_pack_codes(latest->of(w), packing, sink);
         }});
    model_.initializers.push_back({w.name + ".scales", OnnxType::f32, std::move(scales),
                                   [latest = latest_, &w, packing](const auto& sink) {
                                     onnx_pack_scales(latest->of(w), packing, w.name, sink);
                                   }});
  }

  std::string linear_nbits(const std::string& name, const std::string& x, const ArtifactWeight& w,
                           const OnnxPacking& packing) {
    const int64_t rows = w.shape[0], columns = w.shape[1];
    const int64_t blocks = onnx_blocks(packing, columns);
    add_codes(w, packing, OnnxType::u8, {rows, blocks, packing.block * packing.bits / 8},
              {rows, blocks});
    std::vector<std::string> inputs = {x, w.name, w.name + ".scales"};
    if (packing.writes_zero_points()) {
      inputs.push_back(w.name + ".zero_points");
      model_.initializers.push_back({inputs.back(),
                                     OnnxType::u8,
                                     {rows, (blocks * packing.bits + 7) / 8},
                                     [rows, columns, packing](const auto& sink) {
                                       onnx_pack_zero_points(rows, columns, packing, sink);
                                     }});
    }
    return node("MatMulNBits", name, std::move(inputs),
                {{"K", columns},
                 {"N", rows},
                 {"accuracy_level", int64_t{1}},  // sums in fp32
                 {"bits", int64_t{packing.bits}},
                 {"block_size", packing.block}},
                kRuntime);
  }

  std::string linear_qdq(const std::string& name, const std::string& x, const ArtifactWeight& w,
                         const OnnxPacking& packing) {
    const int64_t rows = w.shape[0], columns = w.shape[1];
    std::vector<int64_t> scales;
    std::map<std::string, OnnxAttribute> attributes;
    if (packing.block > 0) {
      scales = {columns / packing.block, rows};
      attributes = {{"axis", int64_t{0}}, {"block_size", packing.block}};
    } else if (packing.block == 0) {
      scales = {rows};
      attributes = {{"axis", int64_t{1}}};
    }
    add_codes(w, packing, OnnxType::i8, {columns, rows}, std::move(scales));
    const std::string decoded = node("DequantizeLinear", w.name + ".decoded",
                                     {w.name, w.name + ".scales"}, std::move(attributes));
    return node("MatMul", name, {x, decoded});
  }

  std::string attention(const std::string& p, const std::string& x, int64_t i) {
    const std::string w = fmt::format("model.layers.{}.self_attn.", i);
    const auto q = linear(p + "q", x, w + "q_proj.weight");
    const auto k = linear(p + "k", x, w + "k_proj.weight");
    const auto v = linear(p + "v", x, w + "v_proj.weight");
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_size()));
    OnnxNode out{
        "GroupQueryAttention",
        {q, k, v, cache_name("past_key_values", i, "key"),
         cache_name("past_key_values", i, "value"), "seqlens_k", "total_sequence_length",
         "cos_cache", "sin_cache"},
        {p + "attention", cache_name("present", i, "key"), cache_name("present", i, "value")},
        {{"num_heads", shape_.heads},
         {"kv_num_heads", shape_.kv_heads},
         {"scale", scale},
         {"do_rotary", int64_t{1}},
         {"rotary_interleaved", int64_t{0}}},
        kRuntime,
        p + "attention"};
    model_.nodes.push_back(std::move(out));
    return linear(p + "o", p + "attention", w + "o_proj.weight");
  }

  std::string mlp(const std::string& p, const std::string& x, int64_t i) {
    const std::string w = fmt::format("model.layers.{}.mlp.", i);
    const auto gate = linear(p + "gate", x, w + "gate_proj.weight");
    const auto up = linear(p + "up", x, w + "up_proj.weight");
    const auto silu = node("Mul", p + "silu", {gate, node("Sigmoid", p + "sigmoid", {gate})});
    return linear(p + "down", node("Mul", p + "gated", {silu, up}), w + "down_proj.weight");
  }

  std::string layer(const std::string& x, int64_t i) {
    const std::string p = fmt::format("layers.{}.", i), w = "model." + p;
    const auto normed = norm(p + "attention_norm", x, w + "input_layernorm.weight");
    const auto middle = node("Add", p + "after_attention", {x, attention(p, normed, i)});
    const auto again = norm(p + "mlp_norm", middle, w + "post_attention_layernorm.weight");
    return node("Add", p + "after_mlp", {middle, mlp(p, again, i)});
  }

  const Artifact& artifact_;
  const LlamaShape& shape_;
  const std::string type_;
  const bool pairs_;  // not where an integer product would be wrong
  std::shared_ptr<LatestCodes> latest_ = std::make_shared<LatestCodes>();
  std::map<std::pair<std::string, std::string>, std::string> rounded_;  // by value and format
  OnnxModel model_;
};

// What the graph takes dense: the embedding is looked up, norms multiply.
bool looked_up(const std::string& name) {
  return name == "model.embed_tokens.weight";
}

}  // namespace

void check_onnx(const Artifact& artifact, const std::string& type) {
  bool compressed = false;
  for (const ArtifactWeight& weight : artifact.weights) {
    if (!weight.compressed()) continue;
    compressed = true;
    Fit fit = onnx_fit(*weight.format, type);
    if (looked_up(weight.name))
      fit = {Verdict::impossible, "the embedding is looked up, not multiplied; leave it dense", 1,
             0};
    if (fit.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} cannot be stored as {} without change: {}", weight.name,
           type.empty() ? "onnx" : "onnx:" + type, fit.reason);
  }
  if (!type.empty() && !compressed)
    fail(ExitCode::usage,
         "onnx:{} needs codes, but this model was trained without; quantizing it now would change "
         "it. Export onnx, or train with [qat] weight_bits",
         type);
  if (artifact.shape.head_size() % 16 != 0)
    fail(ExitCode::usage,
         "heads of {} do not fit ONNX Runtime's attention, whose rotary embedding needs a multiple "
         "of 16; train with another [model] heads",
         artifact.shape.head_size());
}

void write_llama_onnx(FileSystem& fs, const Artifact& artifact, const std::string& type,
                      const std::string& folder, int64_t inline_limit) {
  artifact.validate();
  check_onnx(artifact, type);
  write_folder(fs, folder, [&](const std::string& temporary) {
    write_onnx(fs, fmt::format("{}/{}", temporary, kOnnxFile), Graph(artifact, type).build(),
               inline_limit);
    write_atomically(fs, temporary + "/genai_config.json", genai_config(artifact, type));
    if (!artifact.tokenizer.model.empty())
      write_atomically(fs, temporary + "/tokenizer.model", artifact.tokenizer.model);
  });
}

}  // namespace terse
