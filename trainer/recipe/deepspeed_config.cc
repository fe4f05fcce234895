// The configuration file; its keys as DeepSpeed documents them (deepspeed.ai/docs/config-json).
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "trainer/recipe/deepspeed.h"

namespace terse {
namespace {

using Json = nlohmann::ordered_json;

Value value_of(const Json& json) {
  if (json.is_boolean()) return {json.get<bool>()};
  if (json.is_number_integer()) return {json.get<int64_t>()};
  if (json.is_number_float()) return {json.get<double>()};
  if (json.is_string()) return {json.get<std::string>()};
  if (json.is_array()) {
    std::vector<Value> values;
    for (const Json& item : json) values.push_back(value_of(item));
    return {std::move(values)};
  }
  return {Unsupported{json.is_null() ? "null" : "an object"}};
}

class Config {
 public:
  Config(const std::string& source, int64_t context, Document& document,
         std::vector<Problem>& problems)
      : source_(source), context_(context), document_(document), problems_(problems) {}

  std::vector<std::string> run(const Json& root) {
    const Table* model = document_.find("model");
    const Entry* context = model == nullptr ? nullptr : model->find("context");
    if (context != nullptr)
      if (const auto* tokens = std::get_if<int64_t>(&context->value.data)) context_ = *tokens;
    for (const auto& [key, value] : root.items()) read(key, value);
    defaults(root);
    return std::move(lines_);
  }

 private:
  Place place(const std::string& path) const { return {source_ + ": " + path, 0, 0}; }

  void set(const std::string& path, const std::string& table, const std::string& key, Value value) {
    Table& to = document_.table(table);
    if (to.place.source.empty()) to.place = place(path);
    std::erase_if(to.entries, [&](const Entry& e) { return e.key == key; });
    to.entries.push_back({key, std::move(value), place(path), true});
  }
  // Sets, and says under which name.
  void say(const std::string& path, const std::string& table, const std::string& key, Value value) {
    lines_.push_back(
        fmt::format("{} (DeepSpeed, {}) -> [{}] {} = {}", path, source_, table, key, shown(value)));
    set(path, table, key, std::move(value));
  }
  void problem(const std::string& path, std::string message) {
    Problem& added = problems_.emplace_back();
    added.place.source = fmt::format("{}: {}", source_, path);
    added.message = std::move(message);
  }
  void ignore(const std::string& path, const std::string& why) {
    lines_.push_back(fmt::format("{} (DeepSpeed, {}) -> ignored: {}", path, source_, why));
  }
  void fill(const std::string& table, const std::string& key, Value value,
            std::initializer_list<const char*> also = {}) {
    Table& to = document_.table(table);
    if (to.find(key) != nullptr) return;
    for (const char* name : also)
      if (to.find(name) != nullptr) return;
    say("DeepSpeed's default", table, key, std::move(value));
  }

  void read(const std::string& key, const Json& value);
  void optimizer(const Json& json);
  void scheduler(const Json& json);
  void tokens(const std::string& path, const std::string& key, const Json& sequences);
  void defaults(const Json& root);

  std::string source_;
  int64_t context_;
  Document& document_;
  std::vector<Problem>& problems_;
  std::vector<std::string> lines_;
};

bool enabled(const Json& json) {
  return json.is_object() && json.value("enabled", Json(false)) == Json(true);
}

void Config::optimizer(const Json& json) {
  if (!json.is_object()) return problem("optimizer", "expected an object");
  for (const auto& [key, value] : json.items()) {
    if (key == "type") {
      std::erase_if(document_.table("optim").entries,
                    [](const Entry& e) { return e.key == "name"; });
      set("optimizer.type", "optim", "type", value_of(value));
    } else if (key == "params" && value.is_object()) {
      for (const auto& [name, parameter] : value.items()) {
        const std::string path = "optimizer.params." + name;
        if (name == "freeze_step" || name == "var_freeze_step")
          say(path, "optim", "freeze", value_of(parameter));
        else if (name == "var_update_scaler")
          say(path, "optim", "refresh_doubling", value_of(parameter));
        else if (name == "local_step_scaler")
          say(path, "optim", "local_doubling", value_of(parameter));
        else if (name == "local_step_clipper")
          say(path, "optim", "local_steps", value_of(parameter));
        else if (name == "max_grad_norm")
          say(path, "train", "clip", value_of(parameter));
        else if (name == "lr" || name == "betas" || name == "eps" || name == "weight_decay")
          say(path, "optim", name, value_of(parameter));
        else
          set(path, "optim", name, value_of(parameter));
      }
    } else {
      ignore("optimizer." + key, "no counterpart");
    }
  }
}

void Config::scheduler(const Json& json) {
  const std::string type = json.is_object() ? json.value("type", Json("")).dump() : "";
  const bool cosine = type == "\"WarmupCosineLR\"";
  if (!cosine && type != "\"WarmupLR\"")
    return problem(
        "scheduler.type",
        fmt::format("{} has no counterpart; take WarmupLR or WarmupCosineLR, or leave it out and "
                    "use [optim] schedule",
                    type.empty() ? "this" : type));
  say("scheduler.type", "optim", "schedule", Value{std::string(cosine ? "cosine" : "constant")});
  const Json parameters = json.value("params", Json::object());
  for (const auto& [key, value] : parameters.items()) {
    const std::string path = "scheduler.params." + key;
    if (key == "warmup_num_steps")
      say(path, "optim", "warmup", value_of(value));
    else if (key == "warmup_max_lr")
      say(path, "optim", "lr", value_of(value));
    else if (key == "total_num_steps")
      say(path, "train", "steps", value_of(value));
    else if (key == "cos_min_ratio")
      say(path, "optim", "min_lr", value_of(value));
    else
      ignore(path, "the rate rises from 0, in equal steps");
  }
}

void Config::tokens(const std::string& path, const std::string& key, const Json& sequences) {
  if (!sequences.is_number_integer()) return problem(path, "expected an integer");
  say(path, "train", key, Value{sequences.get<int64_t>() * context_});
}

void Config::read(const std::string& key, const Json& value) {
  if (key == "optimizer") return optimizer(value);
  if (key == "scheduler") return scheduler(value);
  if (key == "train_batch_size") return tokens(key, "batch_tokens", value);
  if (key == "train_micro_batch_size_per_gpu") return tokens(key, "micro_tokens", value);
  if (key == "gradient_clipping") return say(key, "train", "clip", value_of(value));
  if (key == "steps_per_print") return say(key, "train", "log_every", value_of(value));
  if (key == "bf16") {
    if (enabled(value)) say("bf16.enabled", "train", "compute", Value{std::string("bf16")});
  } else if (key == "fp16") {
    if (enabled(value)) {
      say("fp16.enabled", "train", "compute", Value{std::string("bf16")});
      lines_.push_back("fp16 is not there; bf16 needs no loss scaling");
    }
  } else if (key == "gradient_accumulation_steps") {
    ignore(key, "follows from [train] batch_tokens, micro_tokens and the number of ranks");
  } else if (key == "zero_optimization") {
    ignore(key, "every rank holds the whole optimizer state");
  } else {
    ignore(key, "no counterpart");
  }
}

// What DeepSpeed would do where neither its file nor the recipe says anything.
void Config::defaults(const Json& root) {
  fill("train", "clip", Value{0.0});
  fill("train", "compute", Value{std::string("fp32")});
  if (!root.contains("scheduler")) {
    fill("optim", "schedule", Value{std::string("constant")});
    fill("optim", "warmup", Value{int64_t{0}});
  }
  const Json optimizer = root.value("optimizer", Json::object());
  const std::string type = optimizer.is_object() ? optimizer.value("type", Json("")).dump() : "";
  const bool one_bit = type == "\"OneBitAdam\"" || type == "\"ZeroOneAdam\"";
  if (one_bit) fill("optim", "freeze", Value{int64_t{100000}}, {"freeze_step", "var_freeze_step"});
  if (type == "\"ZeroOneAdam\"")
    fill("optim", "local_doubling", Value{int64_t{32678}}, {"local_step_scaler"});
  if (one_bit || type == "\"Adam\"" || type == "\"AdamW\"")
    fill("optim", "betas", Value{std::vector<Value>{{0.9}, {0.999}}});
  if (one_bit || type == "\"Adam\"" || type == "\"SGD\"") fill("optim", "weight_decay", Value{0.0});
}

}  // namespace

std::vector<std::string> add_deepspeed_config(std::string_view json, const std::string& source,
                                              int64_t context, Document& document,
                                              std::vector<Problem>& problems) {
  const Json root = Json::parse(json, nullptr, false, true);
  if (!root.is_object()) {
    Problem& problem = problems.emplace_back();
    problem.place.source = source;
    problem.message = "is no JSON object; expected a DeepSpeed configuration";
    return {};
  }
  return Config(source, context, document, problems).run(root);
}

}  // namespace terse
