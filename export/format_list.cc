// `terse export --list`: every representation in every format, for every engine that reads it.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/formats.h"

namespace terse {
namespace {

struct NamedCodes {
  const char* name;
  CodeFormat format;
};

// The representations that training can produce, each by an example of its format.
std::vector<NamedCodes> representations() {
  const auto f16 = ScaleType::f16, f32 = ScaleType::f32;
  return {
      {"gguf:q4_0 target", {"int_signed", 4, -8, 7, 0.0f, 32, f16, 0}},
      {"gguf:q8_0 target", {"int_signed", 8, -127, 127, 0.0f, 32, f16, 0}},
      {"int_signed 4 bits, 128 columns a scale, fp16", {"int_signed", 4, -8, 7, 0.0f, 128, f16, 0}},
      {"gguf:q4_0 target, 2:4 mask", {"int_signed", 4, -8, 7, 0.0f, 32, f16, 0, "2:4"}},
      {"half_int 4 bits, 128 columns a scale, fp16", {"half_int", 4, -8, 7, 0.5f, 128, f16, 0}},
      {"half_int 4 bits, 128 columns, fp16, 2:4 mask",
       {"half_int", 4, -8, 7, 0.5f, 128, f16, 0, "2:4"}},
      {"half_int 3 bits, 128 columns a scale, fp16", {"half_int", 3, -4, 3, 0.5f, 128, f16, 0}},
      {"half_int 1 bit, 128 columns a scale, fp16", {"half_int", 1, -1, 0, 0.5f, 128, f16, 0}},
      {"any grid, fp32 scales (target = \"none\")", {"half_int", 4, -8, 7, 0.5f, 0, f32, 0}},
      {"any grid, rotated (hadamard = 128)", {"half_int", 4, -8, 7, 0.5f, 0, f32, 128}},
  };
}

// The format's verdict, or the engine's own where that is worse.
Fit read_by(const EngineRow& engine, const CodeFormat& codes, Fit stored) {
  if (engine.fit == nullptr || stored.verdict == Verdict::impossible) return stored;
  Fit read = engine.fit(codes);
  return read.verdict > stored.verdict ? read : stored;
}

}  // namespace

std::vector<ExportRow> export_list() {
  std::vector<ExportRow> list;
  const auto add = [&](const char* representation, const FormatRow& row, const EngineRow& engine,
                       Fit fit) {
    list.push_back(
        {representation, row.format.name(), engine.name, fit.verdict, std::move(fit.reason)});
  };
  for (const NamedCodes& codes : representations())
    for (const FormatRow& row : format_rows())
      for (const EngineRow& engine : row.engines)
        add(codes.name, row, engine, read_by(engine, codes.format, row.fit(codes.format)));
  for (const auto& [name, dtype] :
       {std::pair{"dense bf16", DType::bf16}, {"dense fp32", DType::f32}})
    for (const FormatRow& row : format_rows())
      for (const EngineRow& engine : row.engines) add(name, row, engine, row.fit_dense(dtype));
  return list;
}

std::string export_list_text() {
  std::string text;
  for (const ExportRow& row : export_list())
    text += fmt::format("{:<46} {:<12} {:<16} {:<12} {}\n", row.representation, row.format,
                        row.engine, verdict_name(row.verdict), row.reason);
  return text;
}

std::string export_list_json() {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ExportRow& row : export_list())
    list.push_back({{"representation", row.representation},
                    {"format", row.format},
                    {"engine", row.engine},
                    {"verdict", verdict_name(row.verdict)},
                    {"reason", row.reason}});
  return list.dump();
}

}  // namespace terse
