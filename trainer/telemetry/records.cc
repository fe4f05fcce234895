#include "trainer/telemetry/records.h"

#include <nlohmann/json.hpp>

namespace terse {
namespace {

using Json = nlohmann::ordered_json;

// Invalid UTF-8 in a text is replaced, never an error: telemetry must not end a run.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Reads one key; another type than asked for makes the whole record foreign.
class Fields {
 public:
  explicit Fields(const Json& json) : json_(json) {}
  void get(const char* key, double& value) {
    const auto found = json_.find(key);
    if (found == json_.end()) return;
    if (found->is_null()) {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (found->is_number()) {
      value = found->get<double>();
    } else {
      good_ = false;
    }
  }
  void get(const char* key, int64_t& value) {
    const auto found = json_.find(key);
    if (found == json_.end()) return;
    if (found->is_number_integer()) {
      value = found->get<int64_t>();
    } else {
      good_ = false;
    }
  }
  void get(const char* key, bool& value) {
    const auto found = json_.find(key);
    if (found == json_.end()) return;
    if (found->is_boolean()) {
      value = found->get<bool>();
    } else {
      good_ = false;
    }
  }
  void get(const char* key, std::string& value) {
    const auto found = json_.find(key);
    if (found == json_.end()) return;
    if (found->is_string()) {
      value = found->get<std::string>();
    } else {
      good_ = false;
    }
  }
  bool good() const { return good_; }

 private:
  const Json& json_;
  bool good_ = true;
};

// One list of keys a record serves both directions.
template <typename Visit>
void each_field(StepRecord& r, Visit&& visit) {
  visit("step", r.step);
  visit("loss", r.loss);
  visit("lr", r.learning_rate);
  visit("norm", r.gradient_norm);
  visit("clip", r.clip);
  visit("tokens", r.tokens);
  visit("tokens_per_second", r.tokens_per_second);
  visit("seconds", r.seconds);
  visit("exposed_seconds", r.exposed_seconds);
  visit("wire_bytes", r.wire_bytes);
  visit("dense_bytes", r.dense_bytes);
  visit("phase", r.phase);
  visit("residual_norm", r.residual_norm);
  visit("skipped", r.skipped);
  visit("bad_rank", r.bad_rank);
  visit("reencoded", r.reencoded);
  visit("stage", r.stage);
  visit("pattern", r.pattern);
  visit("beta", r.beta);
  visit("mask_changed", r.mask_changed);
}

template <typename Visit>
void each_field(EvalRecord& r, Visit&& visit) {
  visit("step", r.step);
  visit("loss", r.loss);
  visit("perplexity", r.perplexity);
  visit("accuracy", r.accuracy);
  visit("tokens", r.tokens);
  visit("seconds", r.seconds);
  visit("name", r.name);
}

template <typename Visit>
void each_field(DecisionRecord& r, Visit&& visit) {
  visit("step", r.step);
  visit("what", r.what);
  visit("value", r.value);
  visit("reason", r.reason);
}

template <typename T>
Json json_of(const char* kind, T record) {
  Json json;
  json["kind"] = kind;
  each_field(record, [&](const char* key, auto& value) { json[key] = value; });
  return json;
}

template <typename T>
Record read(const Json& json) {
  T record;
  Fields fields(json);
  each_field(record, [&](const char* key, auto& value) { fields.get(key, value); });
  if (!fields.good()) return {};
  return record;
}

}  // namespace

std::string to_json(const StepRecord& record) {
  Json json = json_of("step", record);
  if (record.stage.empty())
    for (const char* key : {"stage", "pattern", "beta", "mask_changed"}) json.erase(key);
  return dump(json);
}
std::string to_json(const EvalRecord& record) {
  Json json = json_of("eval", record);
  if (record.accuracy < 0) json.erase("accuracy");
  return dump(json);
}
std::string to_json(const DecisionRecord& record) {
  return dump(json_of("decision", record));
}

Record parse_record(std::string_view line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step")) return {};
  const auto kind = json.find("kind");
  if (kind == json.end() || !kind->is_string()) return {};
  const std::string name = kind->get<std::string>();
  if (name == "step") return read<StepRecord>(json);
  if (name == "eval") return read<EvalRecord>(json);
  if (name == "decision") return read<DecisionRecord>(json);
  return {};
}

std::vector<Record> parse_records(std::string_view text) {
  std::vector<Record> records;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    Record record = parse_record(text.substr(0, end));
    if (step_of(record) >= 0) records.push_back(std::move(record));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return records;
}

int64_t step_of(const Record& record) {
  if (const auto* step = std::get_if<StepRecord>(&record)) return step->step;
  if (const auto* eval = std::get_if<EvalRecord>(&record)) return eval->step;
  if (const auto* decision = std::get_if<DecisionRecord>(&record)) return decision->step;
  return -1;
}

}  // namespace terse
