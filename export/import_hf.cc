#include "export/import_hf.h"

#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace terse {
namespace {

using nlohmann::json;

constexpr int64_t kMaxConfig = 1 << 20;

class Config {
 public:
  explicit Config(std::string path) : path_(std::move(path)) {
    json_ = json::parse(read_text(path_, kMaxConfig), nullptr, false);
    if (!json_.is_object()) fail(ExitCode::invalid_file, "{}: not a JSON object", path_);
  }

  int64_t integer(const char* key, std::optional<int64_t> otherwise = {}) const {
    const auto found = json_.find(key);
    if ((found == json_.end() || found->is_null()) && otherwise) return *otherwise;
    const int64_t value =
        found != json_.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
    if (value < 0 || value > (int64_t{1} << 31)) bad(key);
    return value;
  }
  double number(const char* key, double otherwise) const {
    const auto found = json_.find(key);
    if (found == json_.end()) return otherwise;
    if (!found->is_number()) bad(key);
    return found->get<double>();
  }
  bool flag(const char* key, bool otherwise) const {
    const auto found = json_.find(key);
    if (found == json_.end()) return otherwise;
    if (!found->is_boolean()) bad(key);
    return found->get<bool>();
  }
  std::string text(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end() || !found->is_string()) bad(key);
    return found->get<std::string>();
  }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void bad(const char* key) const {
    fail(ExitCode::invalid_file, "{}: \"{}\" is missing or wrong", path_, key);
  }
  std::string path_;
  json json_;
};

LlamaShape read_shape(const Config& config) {
  if (config.text("model_type") != "llama")
    fail(ExitCode::invalid_file, "{}: a \"{}\" model; terse runs \"llama\"", config.path(),
         config.text("model_type"));
  LlamaShape s;
  s.layers = config.integer("num_hidden_layers");
  s.width = config.integer("hidden_size");
  s.heads = config.integer("num_attention_heads");
  s.kv_heads = config.integer("num_key_value_heads", s.heads);
  s.hidden = config.integer("intermediate_size");
  s.context = config.integer("max_position_embeddings");
  s.vocab = config.integer("vocab_size");
  s.tie = config.flag("tie_word_embeddings", false);
  s.norm_eps = config.number("rms_norm_eps", 1e-6);
  s.rope_theta = config.number("rope_theta", 10000.0);
  return s;
}

int64_t whole_number(const std::string& path, const std::string& key, const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ExitCode::invalid_file, "{}: \"{}\" is \"{}\", no whole number", path, key, text);
  return value;
}

ArtifactWeight import_tensor(const SafetensorsFile& file, const std::string& name) {
  const TensorView view = file.require(name);
  const bool real =
      view.dtype == DType::f32 || view.dtype == DType::f16 || view.dtype == DType::bf16;
  if (!real)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is {}; only dense F32, F16 and BF16 can be run",
         file.path(), name, dtype_name(view.dtype));
  return dense_weight(name, view);
}

}  // namespace

Metadata run_metadata(const SafetensorsFile& file) {
  Metadata metadata;
  for (const auto& [key, value] : file.metadata())
    if (key.starts_with("terse.") && key != "terse.checksums" && key != "terse.act_bits")
      metadata[key.substr(6)] = value;
  return metadata;
}

Artifact import_hf(const std::string& folder) {
  const Config config(folder + "/config.json");
  const auto file = std::make_shared<SafetensorsFile>(folder + "/model.safetensors");
  file->verify_checksums(false);
  Artifact artifact;
  artifact.shape = read_shape(config);
  artifact.tokenizer.bos = config.integer("bos_token_id", -1);
  artifact.tokenizer.eos = config.integer("eos_token_id", -1);
  artifact.tokenizer.pad = config.integer("pad_token_id", -1);
  if (FileSystem::real().exists(folder + "/tokenizer.model"))
    artifact.tokenizer.model = read_text(folder + "/tokenizer.model");
  for (const std::string& name : file->names())
    artifact.weights.push_back(import_tensor(*file, name));
  artifact.metadata = run_metadata(*file);
  if (const auto bits = file->metadata().find("terse.act_bits"); bits != file->metadata().end())
    artifact.act_bits = whole_number(folder, bits->first, bits->second);
  artifact.keep = file;
  try {
    artifact.validate();
  } catch (const Error& e) {
    fail(ExitCode::invalid_file, "{}: {}", folder, e.what());
  }
  return artifact;
}

}  // namespace terse
