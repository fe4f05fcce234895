#include "export/artifact.h"

#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/half.h"

namespace terse {
namespace {

int64_t numel(const ArtifactWeight& weight) {
  int64_t n = 1;
  for (int64_t d : weight.shape) n *= d;
  return n;
}

std::vector<std::byte> collect(const ArtifactWeight& weight) {
  std::vector<std::byte> all;
  all.reserve(static_cast<size_t>(numel(weight) * dtype_size(weight.dtype)));
  weight.bytes(
      [&](std::span<const std::byte> piece) { all.insert(all.end(), piece.begin(), piece.end()); });
  if (static_cast<int64_t>(all.size()) != numel(weight) * dtype_size(weight.dtype))
    fail(ExitCode::invalid_file, "weight \"{}\" gave {} bytes where its shape needs {}",
         weight.name, all.size(), numel(weight) * dtype_size(weight.dtype));
  return all;
}

}  // namespace

void check_shape(const LlamaShape& s) {
  const bool positive = s.layers > 0 && s.width > 0 && s.heads > 0 && s.kv_heads > 0 &&
                        s.hidden > 0 && s.context > 0 && s.vocab > 0;
  if (!positive || s.width % s.heads != 0 || s.heads % s.kv_heads != 0 || s.head_size() % 2 != 0)
    fail(ExitCode::invalid_file,
         "a model of {} layers, width {}, {} heads, {} kv heads, hidden {}, context {}, vocabulary "
         "{} is not possible",
         s.layers, s.width, s.heads, s.kv_heads, s.hidden, s.context, s.vocab);
}

void widen_to_float(DType dtype, std::span<const std::byte> bytes, float* out) {
  if (bytes.empty()) return;
  const auto count = static_cast<int64_t>(bytes.size()) / dtype_size(dtype);
  if (dtype == DType::f32) {
    std::memcpy(out, bytes.data(), bytes.size());
    return;
  }
  TERSE_CHECK(dtype == DType::f16 || dtype == DType::bf16, "{}", dtype_name(dtype));
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes.data() + 2 * i, sizeof half);
    out[i] = dtype == DType::bf16 ? bf16_to_float(half) : fp16_to_float(half);
  }
}

std::vector<float> effective_values(const ArtifactWeight& weight) {
  std::vector<float> values(static_cast<size_t>(numel(weight)));
  if (weight.compressed()) {
    const Codes codes = weight.codes();
    TERSE_CHECK(codes.rows * codes.columns == numel(weight), "{}", weight.name);
    codes.decode(values.data());
  } else if (weight.dtype == DType::f32) {
    size_t filled = 0;
    weight.bytes([&](std::span<const std::byte> piece) {
      TERSE_CHECK(filled + piece.size() <= values.size() * sizeof(float), "{}", weight.name);
      std::memcpy(reinterpret_cast<std::byte*>(values.data()) + filled, piece.data(), piece.size());
      filled += piece.size();
    });
    TERSE_CHECK(filled == values.size() * sizeof(float), "{}", weight.name);
  } else {
    widen_to_float(weight.dtype, collect(weight), values.data());
  }
  return values;
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

const ArtifactWeight& Artifact::weight(std::string_view name) const {
  for (const ArtifactWeight& w : weights)
    if (w.name == name) return w;
  fail(ExitCode::usage, "the model has no weight named \"{}\"", name);
}

void Artifact::validate() const {
  check_shape(shape);
  std::map<std::string_view, const ArtifactWeight*> by_name;
  for (const ArtifactWeight& w : weights)
    if (!by_name.emplace(w.name, &w).second)
      fail(ExitCode::invalid_file, "weight \"{}\" appears twice", w.name);
  for (const WeightName& expected : llama_weight_names(shape)) {
    const auto found = by_name.find(expected.name);
    if (found == by_name.end())
      fail(ExitCode::invalid_file, "weight \"{}\" is missing", expected.name);
    if (found->second->shape != expected.shape)
      fail(ExitCode::invalid_file, "weight \"{}\" is [{}], the model needs [{}]", expected.name,
           fmt::join(found->second->shape, ", "), fmt::join(expected.shape, ", "));
    by_name.erase(found);
  }
  if (!by_name.empty())
    fail(ExitCode::invalid_file, "weight \"{}\" is no part of a Llama", by_name.begin()->first);
  if (!tokenizer.pieces.empty() && static_cast<int64_t>(tokenizer.pieces.size()) != shape.vocab)
    fail(ExitCode::invalid_file, "the tokenizer has {} pieces, the model's vocabulary {}",
         tokenizer.pieces.size(), shape.vocab);
}

ArtifactWeight dense_weight(std::string name, TensorView view) {
  ArtifactWeight weight;
  weight.name = std::move(name);
  weight.shape = view.shape;
  weight.dtype = view.dtype;
  weight.bytes = source_of(std::move(view));
  return weight;
}

ArtifactWeight compressed_weight(std::string name, const std::shared_ptr<const Codes>& codes) {
  ArtifactWeight weight;
  weight.name = std::move(name);
  weight.shape = {codes->rows, codes->columns};
  weight.format = codes->format;
  weight.codes = [codes] { return *codes; };
  return weight;
}

}  // namespace terse
