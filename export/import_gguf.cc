#include "export/import_gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "export/import_end.h"

namespace terse {
namespace {

struct Renaming {
  std::string_view stored, name;
};
constexpr std::array<Renaming, 9> kInLayer = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

// The shortest decimal that gives this float: 1e-5f was meant as 1e-5.
double as_written(double stored) {
  return std::strtod(fmt::format("{}", static_cast<float>(stored)).c_str(), nullptr);
}

LlamaShape read_shape(const GgufFile& file) {
  const std::string architecture = file.text("general.architecture");
  if (architecture != "llama")
    fail(ExitCode::invalid_file, "{}: a \"{}\" model; terse runs \"llama\"", file.path(),
         architecture);
  const auto integer = [&](const char* key, std::optional<int64_t> otherwise = {}) {
    const int64_t value = file.integer(fmt::format("llama.{}", key), otherwise);
    if (value < 1 || value > (int64_t{1} << 31))
      fail(ExitCode::invalid_file, "{}: llama.{} is {}", file.path(), key, value);
    return value;
  };
  const GgufTensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    fail(ExitCode::invalid_file, "{}: no matrix \"token_embd.weight\"", file.path());
  LlamaShape s;
  s.layers = integer("block_count");
  s.width = integer("embedding_length");
  s.heads = integer("attention.head_count");
  s.kv_heads = integer("attention.head_count_kv", s.heads);
  s.hidden = integer("feed_forward_length");
  s.context = integer("context_length");
  s.vocab = embedding->shape[0];
  s.tie = file.find("output.weight") == nullptr;
  s.norm_eps = as_written(file.number("llama.attention.layer_norm_rms_epsilon"));
  s.rope_theta = as_written(file.number("llama.rope.freq_base", 10000.0));
  if (s.layers > static_cast<int64_t>(file.tensors().size()))
    fail(ExitCode::invalid_file, "{}: {} layers, but only {} tensors", file.path(), s.layers,
         file.tensors().size());
  if (integer("rope.dimension_count", s.width / s.heads) != s.width / s.heads)
    fail(ExitCode::invalid_file, "{}: partial rotary embeddings are not supported", file.path());
  return s;
}

TokenizerData read_tokenizer(const GgufFile& file) {
  TokenizerData t;
  const auto* texts = file.array<std::string>("tokenizer.ggml.tokens");
  if (texts == nullptr || file.text("tokenizer.ggml.model", "none") != "llama") return t;
  const auto* scores = file.array<float>("tokenizer.ggml.scores");
  const auto* types = file.array<int32_t>("tokenizer.ggml.token_type");
  if (scores == nullptr || types == nullptr || scores->size() != texts->size() ||
      types->size() != texts->size())
    fail(ExitCode::invalid_file, "{}: tokens, scores and token types differ in number",
         file.path());
  for (size_t i = 0; i < texts->size(); ++i) {
    if ((*types)[i] < 1 || (*types)[i] > 6)
      fail(ExitCode::invalid_file, "{}: token {} has the unknown type {}", file.path(), i,
           (*types)[i]);
    t.pieces.push_back({(*texts)[i], (*scores)[i], static_cast<PieceType>((*types)[i])});
  }
  t.bos = file.integer("tokenizer.ggml.bos_token_id", -1);
  t.eos = file.integer("tokenizer.ggml.eos_token_id", -1);
  t.unk = file.integer("tokenizer.ggml.unknown_token_id", -1);
  t.pad = file.integer("tokenizer.ggml.padding_token_id", -1);
  t.add_bos = file.flag("tokenizer.ggml.add_bos_token", true);
  t.add_space_prefix = file.flag("tokenizer.ggml.add_space_prefix", true);
  return t;
}

// Moves rows of rotary matrices from interleaved pairs (0, d/2, 1, d/2 + 1, ...) back to halves, in
// place over `row_bytes`-wide rows.
void restore_rows(std::byte* data, int64_t rows, int64_t row_bytes, int64_t head_size) {
  std::vector<std::byte> head(static_cast<size_t>(head_size * row_bytes));
  for (int64_t first = 0; first < rows; first += head_size) {
    std::byte* base = data + first * row_bytes;
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t pair = 0; pair < head_size / 2; ++pair)
        std::memcpy(head.data() + (half * (head_size / 2) + pair) * row_bytes,
                    base + (2 * pair + half) * row_bytes, static_cast<size_t>(row_bytes));
    std::memcpy(base, head.data(), head.size());
  }
}

bool is_rotary(const GgufTensor& tensor) {
  return tensor.name.ends_with("attn_q.weight") || tensor.name.ends_with("attn_k.weight");
}

// NVFP4 has a scale of the whole tensor, which stands beside it: X.scale of X.weight.
const GgufTensor* companion(const GgufFile& file, const std::string& name, const char* from,
                            const char* to) {
  if (!name.ends_with(from)) return nullptr;
  return file.find(name.substr(0, name.size() - std::string_view(from).size()) + to);
}

constexpr uint32_t kNvfp4 = 40;

bool is_tensor_scale(const GgufFile& file, const GgufTensor& tensor) {
  const GgufTensor* weight = companion(file, tensor.name, ".scale", ".weight");
  return weight != nullptr && weight->type == kNvfp4;
}

float tensor_scale(const GgufFile& file, const GgufTensor& tensor) {
  if (tensor.type != kNvfp4) return 1.0f;
  const GgufTensor* scale = companion(file, tensor.name, ".weight", ".scale");
  if (scale == nullptr) return 1.0f;
  if (scale->type != 0 || scale->numel() != 1)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is not one F32", file.path(), scale->name);
  float value = 0;
  gguf_decode(*scale, &value);
  return value;
}

Codes read_codes(const GgufFile& file, const GgufTensor& tensor, const CodeFormat& format,
                 int64_t head_size) {
  Codes codes = gguf_codes_as(tensor, format, tensor_scale(file, tensor));
  file.release(tensor.data);
  if (is_rotary(tensor)) {
    restore_rows(reinterpret_cast<std::byte*>(codes.codes.data()), codes.rows, codes.columns,
                 head_size);
    restore_rows(reinterpret_cast<std::byte*>(codes.scales.data()), codes.rows,
                 codes.groups() * static_cast<int64_t>(sizeof(float)), head_size);
  }
  return codes;
}

// As it stands there, or what has neither codes nor a dense type: decoded.
void send_dense(const GgufFile& file, const GgufTensor& tensor, int64_t head_size,
                const ByteSink& sink) {
  if (gguf_block_info(tensor.type)->block > 1) {
    const std::vector<float> values = gguf_values(file, tensor, head_size);
    return sink(std::as_bytes(std::span(values)));
  }
  if (!is_rotary(tensor)) {
    sink(tensor.data);
    return file.release(tensor.data);
  }
  std::vector<std::byte> copy(tensor.data.begin(), tensor.data.end());
  restore_rows(copy.data(), tensor.shape[0], static_cast<int64_t>(copy.size()) / tensor.shape[0],
               head_size);
  sink(copy);
}

ArtifactWeight import_tensor(const std::shared_ptr<const GgufFile>& file, const GgufTensor& tensor,
                             int64_t head_size) {
  ArtifactWeight weight;
  weight.name = gguf_original_name(tensor.name);
  weight.shape = tensor.shape;
  const GgufBlockInfo& info = *gguf_block_info(tensor.type);
  const bool possible = !weight.name.empty() && info.decode != nullptr &&
                        (tensor.shape.size() == 2 || (tensor.shape.size() == 1 && info.block == 1));
  if (!possible)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" ({}, {} dimensions) is none that terse can run",
         file->path(), tensor.name, info.name, tensor.shape.size());
  if (is_rotary(tensor) && tensor.shape[0] % head_size != 0)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" has {} rows, no multiple of the head size {}",
         file->path(), tensor.name, tensor.shape[0], head_size);
  weight.format = gguf_code_format(tensor, tensor_scale(*file, tensor));
  file->release(tensor.data);
  if (weight.format) {
    weight.codes = [file, &tensor, format = *weight.format, head_size] {
      return read_codes(*file, tensor, format, head_size);
    };
    return weight;
  }
  weight.dtype = info.type == 1 ? DType::f16 : info.type == 30 ? DType::bf16 : DType::f32;
  weight.bytes = [file, &tensor, head_size](const ByteSink& sink) {
    send_dense(*file, tensor, head_size, sink);
  };
  return weight;
}

}  // namespace

std::string gguf_original_name(const std::string& stored) {
  if (stored == "token_embd.weight") return "model.embed_tokens.weight";
  if (stored == "output_norm.weight") return "model.norm.weight";
  if (stored == "output.weight") return "lm_head.weight";
  for (const Renaming& r : kInLayer) {
    const std::string suffix = fmt::format(".{}.weight", r.stored);
    if (stored.starts_with("blk.") && stored.ends_with(suffix) && stored.size() > 4 + suffix.size())
      return fmt::format("model.layers.{}.{}.weight",
                         stored.substr(4, stored.size() - 4 - suffix.size()), r.name);
  }
  return "";
}

std::vector<float> gguf_values(const GgufFile& file, const GgufTensor& tensor, int64_t head_size) {
  std::vector<float> values(static_cast<size_t>(tensor.numel()));
  gguf_decode(tensor, values.data());
  file.release(tensor.data);
  if (const float scale = tensor_scale(file, tensor); scale != 1.0f)
    for (float& value : values) value *= scale;
  if (is_rotary(tensor) && tensor.shape.size() == 2 && tensor.shape[0] % head_size == 0)
    restore_rows(reinterpret_cast<std::byte*>(values.data()), tensor.shape[0],
                 tensor.shape[1] * static_cast<int64_t>(sizeof(float)), head_size);
  return values;
}

std::vector<const GgufTensor*> gguf_weights(const GgufFile& file) {
  std::vector<const GgufTensor*> weights;
  for (const GgufTensor& tensor : file.tensors())
    if (!is_tensor_scale(file, tensor)) weights.push_back(&tensor);
  return weights;
}

Metadata gguf_metadata(const GgufFile& file) {
  Metadata metadata;
  for (const auto& [key, value] : file.metadata()) {
    const auto* text = std::get_if<std::string>(&value);
    if (key.starts_with("terse.") && text != nullptr) metadata[key.substr(6)] = *text;
  }
  return metadata;
}

Artifact import_gguf(const std::shared_ptr<const GgufFile>& file) {
  Artifact artifact;
  artifact.shape = read_shape(*file);
  artifact.tokenizer = read_tokenizer(*file);
  artifact.act_bits = file->integer("terse.act_bits", 16);
  artifact.metadata = gguf_metadata(*file);
  const int64_t head_size = artifact.shape.width / artifact.shape.heads;
  if (head_size < 2 || head_size % 2 != 0)
    fail(ExitCode::invalid_file, "{}: {} heads do not fit a width of {}", file->path(),
         artifact.shape.heads, artifact.shape.width);
  for (const GgufTensor* tensor : gguf_weights(*file))
    artifact.weights.push_back(import_tensor(file, *tensor, head_size));
  return finished_import(std::move(artifact), file, file->path());
}

}  // namespace terse
