#include "export/llama_hf.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace terse {
namespace {

using nlohmann::ordered_json;

SafetensorsItem make_item(const ArtifactWeight& weight) {
  if (!weight.compressed()) return {weight.name, weight.dtype, weight.shape, weight.bytes};
  return {weight.name, DType::f32, weight.shape, [&weight](const ByteSink& sink) {
            const std::vector<float> values = effective_values(weight);
            sink(std::as_bytes(std::span(values)));
          }};
}

bool all_of_type(const Artifact& artifact, DType dtype) {
  return std::all_of(artifact.weights.begin(), artifact.weights.end(),
                     [&](const auto& w) { return !w.compressed() && w.dtype == dtype; });
}

// What transformers loads the weights as: a narrower type than any tensor would round it.
const char* load_type(const Artifact& artifact) {
  if (all_of_type(artifact, DType::bf16)) return "bfloat16";
  return all_of_type(artifact, DType::f16) ? "float16" : "float32";
}

void set_ids(ordered_json& json, const TokenizerData& tokenizer) {
  const auto set = [&](const char* key, int64_t id) {
    json[key] = id >= 0 ? ordered_json(id) : ordered_json(nullptr);
  };
  set("bos_token_id", tokenizer.bos);
  set("eos_token_id", tokenizer.eos);
  set("pad_token_id", tokenizer.pad);
}

std::string config_json(const Artifact& artifact) {
  const LlamaShape& s = artifact.shape;
  ordered_json json = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"dtype", load_type(artifact)},
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
      {"torch_dtype", load_type(artifact)},
      {"use_cache", true},
      {"vocab_size", s.vocab},
  };
  set_ids(json, artifact.tokenizer);
  return json.dump(2) + "\n";
}

std::string generation_json(const Artifact& artifact) {
  ordered_json json = {{"do_sample", false}, {"max_length", artifact.shape.context}};
  set_ids(json, artifact.tokenizer);
  return json.dump(2) + "\n";
}

std::string tokenizer_json(const Artifact& artifact) {
  const TokenizerData& t = artifact.tokenizer;
  ordered_json json = {{"tokenizer_class", "LlamaTokenizer"},
                       {"add_bos_token", t.add_bos},
                       {"add_eos_token", false},
                       {"add_prefix_space", t.add_space_prefix},
                       {"clean_up_tokenization_spaces", false},
                       {"legacy", true},
                       {"model_max_length", artifact.shape.context}};
  const auto set = [&](const char* key, int64_t id) {
    if (id >= 0 && static_cast<size_t>(id) < t.pieces.size())
      json[key] = t.pieces[static_cast<size_t>(id)].text;
  };
  set("bos_token", t.bos);
  set("eos_token", t.eos);
  set("unk_token", t.unk);
  set("pad_token", t.pad);
  return json.dump(2) + "\n";
}

void check(const Artifact& artifact) {
  artifact.validate();
  for (const ArtifactWeight& weight : artifact.weights) {
    if (!weight.compressed()) continue;
    const Fit fit = hf_fit(*weight.format);
    if (fit.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} cannot be stored in Hugging Face's layout: {}", weight.name,
           fit.reason);
  }
}

}  // namespace

Fit hf_fit(const CodeFormat& format) {
  if (format.hadamard != 0)
    return {Verdict::impossible,
            "rotating the weights back would round them and the reader would not rotate "
            "activations; train with [qat] hadamard = 0",
            1, 0};
  return {Verdict::exact_after, "decoded to dense F32: larger, the same values", 1, 0};
}

void write_hf_tensors(FileSystem& fs, const Artifact& artifact, const std::string& path) {
  check(artifact);
  Metadata metadata = {{"format", "pt"}, {"terse.act_bits", fmt::format("{}", artifact.act_bits)}};
  for (const auto& [key, value] : artifact.metadata) metadata["terse." + key] = value;
  std::vector<SafetensorsItem> items;
  for (const ArtifactWeight& weight : artifact.weights) items.push_back(make_item(weight));
  write_safetensors(fs, path, std::move(items), std::move(metadata));
}

void write_hf(FileSystem& fs, const Artifact& artifact, const std::string& folder) {
  check(artifact);
  if (fs.exists(folder) && !fs.list(folder).empty())
    fail(ExitCode::usage, "{}: exists and is not empty; choose another --out or remove it", folder);
  const std::string temporary = fmt::format("{}.tmp.{}", folder, ::getpid());
  try {
    fs.make_directories(temporary);
    write_hf_tensors(fs, artifact, temporary + "/model.safetensors");
    write_atomically(fs, temporary + "/config.json", config_json(artifact));
    write_atomically(fs, temporary + "/generation_config.json", generation_json(artifact));
    if (!artifact.tokenizer.pieces.empty())
      write_atomically(fs, temporary + "/tokenizer_config.json", tokenizer_json(artifact));
    if (!artifact.tokenizer.model.empty())
      write_atomically(fs, temporary + "/tokenizer.model", artifact.tokenizer.model);
    fs.rename(temporary, folder);  // replaces an empty folder
  } catch (...) {
    try {
      fs.remove_all(temporary);
    } catch (const Error&) {  // the first failure is the one to report
    }
    throw;
  }
  fs.sync_directory(directory_of(folder));
}

}  // namespace terse
