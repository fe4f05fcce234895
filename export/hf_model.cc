#include "export/hf_model.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"

namespace terse {
namespace {

using nlohmann::json;

class Config {
 public:
  Config(std::string_view text, std::string path) : path_(std::move(path)) {
    json_ = json::parse(text, nullptr, false);
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
  // The JSON of an object, or nothing.
  std::string object(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return "";
    if (!found->is_object()) bad(key);
    return found->dump(-1, ' ', false, json::error_handler_t::replace);
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

}  // namespace

HfModel read_hf_model(std::string_view json, const std::string& path) {
  const Config config(json, path);
  HfModel model;
  model.shape = read_shape(config);
  model.bos = config.integer("bos_token_id", -1);
  model.eos = config.integer("eos_token_id", -1);
  model.pad = config.integer("pad_token_id", -1);
  model.quantization = config.object("quantization_config");
  return model;
}

}  // namespace terse
