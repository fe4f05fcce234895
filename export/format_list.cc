// `terse export --list`: every representation in every format, for every engine that reads it.
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/formats.h"
#include "qat/targets.h"

namespace terse {
namespace {

struct NamedCodes {
  std::string name;
  CodeFormat format;
  int input_bits = 0;  // that the target rounds inputs to; 16: it does not, 0: the recipe says
};

int input_bits_of(const Target& target) {
  if (target.any_activations) return 0;
  return target.activations ? target.activations->format.bits : 16;
}

// What training can produce: each target's own grid, and the grids that target = "none" offers, by
// examples.
std::vector<NamedCodes> representations() {
  const auto f16 = ScaleType::f16, f32 = ScaleType::f32;
  std::vector<NamedCodes> all;
  for (const Target& target : targets()) {
    if (!target.grid) continue;
    CodeFormat format = target.grid->format;
    format.hadamard = target.rotation;  // where the layer's inputs allow it (qat/plan.h)
    all.push_back({"target " + target.name, format, input_bits_of(target)});
  }
  const std::vector<NamedCodes> others = {
      {"target gguf:q4_0, 2:4 mask", {"int_signed", 4, -8, 7, 0.0f, 32, f16, 0, "2:4"}},
      {"int_signed 4 bits, 128 columns a scale, fp16", {"int_signed", 4, -8, 7, 0.0f, 128, f16, 0}},
      {"int_signed 2 bits, 64 columns a scale, fp16", {"int_signed", 2, -2, 1, 0.0f, 64, f16, 0}},
      {"half_int 4 bits, 128 columns a scale, fp16", {"half_int", 4, -8, 7, 0.5f, 128, f16, 0}},
      {"half_int 4 bits, 128 columns, fp16, 2:4 mask",
       {"half_int", 4, -8, 7, 0.5f, 128, f16, 0, "2:4"}},
      {"half_int 3 bits, 128 columns a scale, fp16", {"half_int", 3, -4, 3, 0.5f, 128, f16, 0}},
      {"half_int 1 bit, 128 columns a scale, fp16", {"half_int", 1, -1, 0, 0.5f, 128, f16, 0}},
      {"any grid, fp32 scales (target = \"none\")", {"half_int", 4, -8, 7, 0.5f, 0, f32, 0}},
      {"any grid, rotated (hadamard = 128)", {"half_int", 4, -8, 7, 0.5f, 0, f32, 128}},
  };
  all.insert(all.end(), others.begin(), others.end());
  return all;
}

std::string rounded_to(int bits) {
  return bits == 16 ? "not rounded" : fmt::format("rounded to {} bits", bits);
}

// The format's verdict on codes and inputs.
Fit stored_in(const FormatRow& row, const NamedCodes& codes) {
  Fit fit = row.fit(codes.format);
  const int wanted = row.input_bits, have = codes.input_bits;
  if (fit.verdict == Verdict::impossible || wanted == 0 || wanted == have) return fit;
  if (have != 0)
    return {Verdict::impossible,
            fmt::format("inputs are {}, in {} they are {}", rounded_to(have), row.format.name(),
                        rounded_to(wanted)),
            1, 0};
  if (wanted < 16)
    fit.reason += fmt::format("{}if inputs are {} (checked)", fit.reason.empty() ? "" : ", ",
                              rounded_to(wanted));
  return fit;
}

// The format's verdict, or the engine's own where that is worse.
Fit read_by(const EngineRow& engine, const CodeFormat& codes, Fit stored) {
  if (engine.fit == nullptr || stored.verdict == Verdict::impossible) return stored;
  Fit read = engine.fit(codes);
  return read.verdict > stored.verdict ? read : stored;
}

// The format that takes these codes: of the same family if there is one, exactly if it can be, else
// the first in the list.
std::string nearest_format(const CodeFormat& codes, const FormatRow& refused) {
  const FormatRow* best = nullptr;
  int best_rank = std::numeric_limits<int>::max();
  for (const FormatRow& row : format_rows()) {
    const Verdict verdict = row.fit(codes).verdict;
    if (verdict == Verdict::impossible || row.format.type.empty() != refused.format.type.empty())
      continue;
    const int rank =
        (row.format.family == refused.format.family ? 0 : 2) + (verdict == Verdict::exact ? 0 : 1);
    if (rank < best_rank) best = &row;
    best_rank = std::min(rank, best_rank);
  }
  return best == nullptr ? "" : best->format.name();
}

Fit with_nearest(Fit fit, const CodeFormat& codes, const FormatRow& row) {
  if (fit.verdict != Verdict::impossible) return fit;
  if (const std::string near = nearest_format(codes, row); !near.empty())
    fit.reason += fmt::format("; nearest: {}", near);
  return fit;
}

// What --requantize rounds to, where the format cannot hold it; not where an engine cannot read.
std::string requantized_by(const FormatRow& row, const Fit& stored) {
  return stored.verdict == Verdict::impossible ? row.requantize_as : "";
}

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::exact:
      return "exact";
    case Verdict::exact_after:
      return "exact-after";
    case Verdict::impossible:
      return "impossible";
  }
  return "";
}

std::vector<ExportRow> export_list() {
  std::vector<ExportRow> list;
  const auto add = [&](const std::string& representation, const FormatRow& row,
                       const EngineRow& engine, Fit fit, const Fit& stored) {
    const std::string rule = requantized_by(row, stored);
    if (!rule.empty()) fit.reason += fmt::format("; --requantize: {}", rule);
    list.push_back(
        {representation, row.format.name(), engine.name, fit.verdict, std::move(fit.reason), rule});
  };
  for (const NamedCodes& codes : representations())
    for (const FormatRow& row : format_rows()) {
      const Fit stored = stored_in(row, codes);
      for (const EngineRow& engine : row.engines)
        add(codes.name, row, engine,
            with_nearest(read_by(engine, codes.format, stored), codes.format, row), stored);
    }
  for (const auto& [name, dtype] :
       {std::pair{"dense bf16", DType::bf16}, {"dense fp32", DType::f32}})
    for (const FormatRow& row : format_rows()) {
      const Fit stored = row.fit_dense(dtype);
      for (const EngineRow& engine : row.engines) add(name, row, engine, stored, stored);
    }
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
                    {"reason", row.reason},
                    {"requantize", row.requantize}});
  return list.dump();
}

}  // namespace terse
