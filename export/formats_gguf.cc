#include <optional>

#include "base/error.h"
#include "export/format_row.h"
#include "export/llama_gguf.h"
#include "qat/targets.h"

namespace terse {
namespace {

using FitOne = std::function<Fit(const GgufPacking&)>;

// Of the family without a type: the first packing that fits, which is the smallest.
Fit first_fit(const FitOne& fit_one, bool codes) {
  std::optional<Fit> refusal;
  for (const GgufPacking& packing : gguf_packings()) {
    Fit fit = fit_one(packing);
    if (fit.verdict == Verdict::impossible) {
      if (!refusal && (packing.pack != nullptr) == codes) refusal = std::move(fit);
      continue;
    }
    fit.reason = fmt::format("as {}{}{}", packing.name, fit.reason.empty() ? "" : ": ", fit.reason);
    return fit;
  }
  return *refusal;
}

std::vector<std::string> warnings(const Artifact& artifact) {
  if (artifact.act_bits >= 8) return {};
  return {fmt::format("trained with {}-bit activations; llama.cpp computes with its own 8-bit ones",
                      artifact.act_bits)};
}

// The least change that a whole model can be given: 8 bits. TQ1_0 is TQ2_0's grid in fewer bytes.
std::string requantize_as(const std::string& type) {
  const std::string target = type.empty()      ? "gguf:q8_0"
                             : type == "tq1_0" ? "gguf:tq2_0"
                                               : "gguf:" + type;
  for (const GgufPacking& packing : gguf_packings())
    if (packing.name == type && packing.pack == nullptr) return type;
  const Target* found = find_target(target);
  return found != nullptr && found->grid ? target : "";
}

// OpenVINO GenAI has a reader of its own, for these types (tried: 2026.4). It turns the minimum of
// Q4_1 into a whole zero point.
std::vector<EngineRow> engines(const std::string& type) {
  std::vector<EngineRow> all = {{"llama.cpp"}};
  const auto reads_q4_1 = [](const CodeFormat& codes) {
    if (codes.offset == 0.0f) return Fit{};
    return Fit{Verdict::impossible, "it rounds the minimum, 7.5 steps, to whole steps"};
  };
  if (type == "f16" || type == "q4_0" || type == "q8_0") all.push_back({"OpenVINO GenAI"});
  if (type == "q4_1") all.push_back({"OpenVINO GenAI", reads_q4_1});
  return all;
}

// The type that the Codes of a weight get: of the family without a type the first one that fits.
const GgufPacking* packing_of(const std::string& type, const CodeFormat& codes) {
  for (const GgufPacking& packing : gguf_packings())
    if ((type.empty() || packing.name == type) &&
        gguf_fit(codes, packing).verdict != Verdict::impossible)
      return &packing;
  return nullptr;
}

bool holds_scales(const std::string& type, const ArtifactWeight& weight) {
  const GgufPacking* packing = packing_of(type, *weight.format);
  if (packing == nullptr || packing->pack == nullptr) return true;
  // Rounded to what the type stores when they were made; fp16's small ones lose bits when halved.
  if (weight.format->scale_type == packing->scale && packing->scale != ScaleType::f16) return true;
  return gguf_holds_scales(weight.codes(), *packing);
}

FormatRow row(const std::string& type, std::function<Fit(const CodeFormat&)> fit,
              std::function<Fit(DType)> fit_dense) {
  return {.format = {"gguf", type},
          .engines = engines(type),
          .fit = std::move(fit),
          .fit_dense = std::move(fit_dense),
          .holds_scales = [type](const auto& weight) { return holds_scales(type, weight); },
          .check = [type](const Artifact& artifact) { check_gguf(artifact, type); },
          .write = [type](FileSystem& fs, const Artifact& artifact,
                          const std::string& out) { write_gguf(fs, artifact, type, out); },
          .warnings = warnings,
          .requantize_as = requantize_as(type),
          .file_name = "model.gguf"};
}

}  // namespace

std::vector<FormatRow> gguf_rows() {
  std::vector<FormatRow> rows;
  rows.push_back(row(
      "",
      [](const CodeFormat& f) {
        return first_fit([&](const GgufPacking& p) { return gguf_fit(f, p); }, true);
      },
      [](DType d) {
        return first_fit([&](const GgufPacking& p) { return gguf_fit(d, p); }, false);
      }));
  for (const GgufPacking& p : gguf_packings())
    rows.push_back(row(
        p.name, [&p](const CodeFormat& f) { return gguf_fit(f, p); },
        [&p](DType d) { return gguf_fit(d, p); }));
  return rows;
}

}  // namespace terse
