#include "export/requantize.h"

#include <cmath>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/half.h"
#include "qat/plan.h"
#include "qat/quantize.h"

namespace terse {
namespace {

constexpr const char* kKey = "requantized";

std::optional<DType> dense_type(const std::string& name) {
  const std::map<std::string, DType> types = {
      {"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}};
  const auto found = types.find(name);
  return found == types.end() ? std::nullopt : std::optional(found->second);
}

// In the space that the model's inputs live in.
std::vector<float> plain_values(const ArtifactWeight& weight) {
  std::vector<float> values = effective_values(weight);
  const int64_t hadamard = weight.compressed() ? weight.format->hadamard : 0;
  if (hadamard == 0) return values;
  std::vector<float> rotated(values.size());
  rotate_rows({.f32 = values.data(), .rows = weight.shape[0], .columns = weight.shape[1]}, nullptr,
              hadamard, rotated.data(), nullptr);
  return rotated;
}

Codes encoded(const ArtifactWeight& weight, const Quantizer& quantizer) {
  const std::vector<float> values = plain_values(weight);
  Codes codes;
  codes.format = quantizer.grid.format;
  codes.rows = weight.shape[0];
  codes.columns = weight.shape[1];
  codes.codes.resize(values.size());
  codes.scales.resize(static_cast<size_t>(codes.scale_count()));
  quantize_rows(quantizer.grid, quantizer.estimator,
                {.f32 = values.data(), .rows = codes.rows, .columns = codes.columns},
                {.codes = codes.codes.data(), .scales = codes.scales.data()});
  codes.validate(weight.name);
  return codes;
}

std::vector<std::byte> narrowed(const std::vector<float>& values, DType dtype) {
  const auto bytes = std::as_bytes(std::span(values));
  if (dtype == DType::f32) return {bytes.begin(), bytes.end()};
  std::vector<uint16_t> halves;
  halves.reserve(values.size());
  for (const float value : values)
    halves.push_back(dtype == DType::bf16 ? bf16_from_float(value) : fp16_from_float(value));
  const auto narrow = std::as_bytes(std::span(halves));
  return {narrow.begin(), narrow.end()};
}

ArtifactWeight as_dense(const ArtifactWeight& weight, DType dtype) {
  ArtifactWeight dense;
  dense.name = weight.name;
  dense.shape = weight.shape;
  dense.dtype = dtype;
  dense.bytes = [weight, dtype](const ByteSink& sink) {
    sink(narrowed(plain_values(weight), dtype));
  };
  return dense;
}

ArtifactWeight as_codes(const ArtifactWeight& weight, const std::string& target) {
  QatOptions options;
  options.target = target;
  const LayerPlan plan = plan_layer(options, weight.name, weight.shape[1]);
  TERSE_CHECK(plan.weight.has_value(), "target {}", target);
  ArtifactWeight coded;
  coded.name = weight.name;
  coded.shape = weight.shape;
  coded.format = plan.weight->grid.format;
  coded.codes = [weight, quantizer = *plan.weight] { return encoded(weight, quantizer); };
  return coded;
}

// Codes of another grid, and dense matrices. Where the format stores codes, embedding and output
// stay dense, as in training.
bool misfits(const ArtifactWeight& weight, const FormatRow& row) {
  if (weight.shape.size() != 2) return false;
  if (weight.compressed()) return row.fit(*weight.format).verdict == Verdict::impossible;
  const bool wanted =
      weight.name.starts_with("model.layers.") || dense_type(row.requantize_as).has_value();
  return wanted && row.fit_dense(weight.dtype).verdict == Verdict::impossible;
}

}  // namespace

Artifact requantized(const Artifact& artifact, const FormatRow& row) {
  Artifact changed = artifact;
  for (ArtifactWeight& weight : changed.weights) {
    if (!misfits(weight, row)) continue;
    if (row.requantize_as.empty())
      fail(ExitCode::usage, "{} has no grid of its own to encode {} on", row.format.name(),
           weight.name);
    const std::optional<DType> dense = dense_type(row.requantize_as);
    weight = dense ? as_dense(weight, *dense) : as_codes(weight, row.requantize_as);
    changed.metadata[kKey] = row.format.name();
  }
  return changed;
}

std::string requantized_as(const Metadata& metadata) {
  const auto found = metadata.find(kKey);
  return found == metadata.end() ? "" : found->second;
}

}  // namespace terse
