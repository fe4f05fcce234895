#include "trainer/telemetry/results.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "trainer/telemetry/tables.h"

namespace terse {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

double number(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::numeric_limits<double>::quiet_NaN();
  return found->get<double>();
}

Json encode(const EvalRecord& r) {
  Json json = {{"step", r.step},     {"name", r.name},
               {"loss", r.loss},     {"perplexity", r.perplexity},
               {"tokens", r.tokens}, {"seconds", r.seconds}};
  if (r.accuracy >= 0) json["accuracy"] = r.accuracy;
  return json;
}

EvalRecord decode_eval(const Json& j) {
  return {.step = j.value("step", int64_t{0}),
          .loss = number(j, "loss"),
          .perplexity = number(j, "perplexity"),
          .accuracy = j.value("accuracy", -1.0),
          .tokens = j.value("tokens", int64_t{0}),
          .seconds = j.value("seconds", 0.0),
          .name = j.value("name", "valid")};
}

Json encode(const ExportRecord& r) {
  return {{"format", r.format},
          {"path", r.path},
          {"bytes", r.bytes},
          {"fp16_bytes", r.fp16_bytes},
          {"bits_per_weight", r.bits_per_weight},
          {"tensors", r.tensors},
          {"tensors_equal", r.tensors_equal}};
}

ExportRecord decode_export(const Json& j) {
  return {.format = j.value("format", ""),
          .path = j.value("path", ""),
          .bytes = j.value("bytes", int64_t{0}),
          .fp16_bytes = j.value("fp16_bytes", int64_t{0}),
          .bits_per_weight = j.value("bits_per_weight", 0.0),
          .tensors = j.value("tensors", int64_t{0}),
          .tensors_equal = j.value("tensors_equal", int64_t{-1})};
}

Json encode(const EngineRecord& r) {
  return {{"engine", r.engine},         {"file", r.file},
          {"perplexity", r.perplexity}, {"terse_perplexity", r.terse_perplexity},
          {"tokens", r.tokens},         {"generated", r.generated}};
}

EngineRecord decode_engine(const Json& j) {
  return {.engine = j.value("engine", ""),
          .file = j.value("file", ""),
          .perplexity = number(j, "perplexity"),
          .terse_perplexity = number(j, "terse_perplexity"),
          .tokens = j.value("tokens", int64_t{0}),
          .generated = j.value("generated", "")};
}

Json encode(const LayerRecord& r) {
  Json histogram = Json::array();
  for (const CodeCount& bin : r.histogram) histogram.push_back({bin.code, bin.count});
  return {{"name", r.name},
          {"rows", r.rows},
          {"columns", r.columns},
          {"representation", r.representation},
          {"bits", r.bits},
          {"relative_error", r.relative_error},
          {"residual_norm", r.residual_norm},
          {"histogram", std::move(histogram)}};
}

LayerRecord decode_layer(const Json& j) {
  LayerRecord r{.name = j.value("name", ""),
                .rows = j.value("rows", int64_t{0}),
                .columns = j.value("columns", int64_t{0}),
                .representation = j.value("representation", ""),
                .bits = j.value("bits", 0.0),
                .relative_error = j.value("relative_error", -1.0),
                .residual_norm = j.value("residual_norm", -1.0),
                .histogram = {}};
  for (const Json& bin : j.value("histogram", Json::array())) {
    r.histogram.push_back({bin.at(0).get<int>(), bin.at(1).get<int64_t>()});
  }
  return r;
}

template <typename T>
Json encode_all(const std::vector<T>& records) {
  Json out = Json::array();
  for (const T& record : records) out.push_back(encode(record));
  return out;
}

// Parses a file and hands it to `read`; any mismatch of types becomes an Error that names the file.
template <typename Read>
void parse_file(const std::string& path, const Read& read) {
  if (!std::filesystem::exists(path)) return;
  try {
    read(Json::parse(read_text(path)));
  } catch (const nlohmann::json::exception& error) {
    fail(ExitCode::invalid_file, "{}: {}; remove the file to do without it", path, error.what());
  }
}

}  // namespace

void write_results(FileSystem& fs, const std::string& path, const RunResults& r) {
  const Json json = {{"name", r.name},
                     {"parameters", r.parameters},
                     {"ranks", r.ranks},
                     {"evaluations", encode_all(r.evaluations)},
                     {"exports", encode_all(r.exports)},
                     {"engines", encode_all(r.engines)}};
  write_atomically(fs, path, dump(json));
}

RunResults read_results(const std::string& path) {
  RunResults r;
  parse_file(path, [&](const Json& j) {
    r.name = j.value("name", "");
    r.parameters = j.value("parameters", int64_t{0});
    r.ranks = j.value("ranks", int64_t{0});
    for (const Json& e : j.value("evaluations", Json::array())) {
      r.evaluations.push_back(decode_eval(e));
    }
    for (const Json& e : j.value("exports", Json::array())) r.exports.push_back(decode_export(e));
    for (const Json& e : j.value("engines", Json::array())) r.engines.push_back(decode_engine(e));
  });
  return r;
}

void write_layers(FileSystem& fs, const std::string& path, const std::vector<LayerRecord>& layers) {
  write_atomically(fs, path, encode_all(layers).dump() + "\n");
}

std::vector<LayerRecord> read_layers(const std::string& path) {
  std::vector<LayerRecord> layers;
  parse_file(path, [&](const Json& j) {
    for (const Json& layer : j) layers.push_back(decode_layer(layer));
  });
  return layers;
}

std::string summary_json(const RunSummary& s) {
  Json json = {{"run", s.run},
               {"steps", s.steps},
               {"loss", s.loss},
               {"perplexity", s.perplexity},
               {"tokens_per_second", s.tokens_per_second},
               {"wire_bytes", s.wire_bytes},
               {"dense_bytes", s.dense_bytes},
               {"exposed_seconds", s.exposed_seconds}};
  if (s.accuracy >= 0) json["accuracy"] = s.accuracy;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace terse
