#include "export/requantize.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/half.h"
#include "export/formats.h"
#include "export/post_training.h"
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

// What its input becomes is in the space of the codes: of rotated ones it does not hold any more.
std::optional<InputFormat> input_of(const ArtifactWeight& weight, const CodeFormat& anew) {
  const int64_t hadamard = weight.compressed() ? weight.format->hadamard : 0;
  return hadamard == anew.hadamard ? weight.input : std::nullopt;
}

ArtifactWeight as_codes(const ArtifactWeight& weight, const std::string& rule) {
  const PostTraining how = post_training(rule, weight.name, weight.shape[1]);
  ArtifactWeight coded;
  coded.name = weight.name;
  coded.shape = weight.shape;
  coded.format = how.grid.format;
  coded.input = input_of(weight, *coded.format);
  coded.codes = [weight, how] {
    return rounded_codes(how, weight.name, weight.shape[0], weight.shape[1], plain_values(weight));
  };
  return coded;
}

bool fits(const ArtifactWeight& coded, const FormatRow& row) {
  return row.fit(*coded.format).verdict != Verdict::impossible;
}

// Of Codes that fit by their format: one of their scales does not.
bool has_inexact_scale(const ArtifactWeight& weight, const FormatRow& row) {
  return weight.compressed() && row.holds_scales && fits(weight, row) && !row.holds_scales(weight);
}

bool keeps_codes(const ArtifactWeight& weight, const FormatRow& row) {
  return weight.compressed() && fits(weight, row) && !has_inexact_scale(weight, row);
}

// Codes of another grid, inputs that the format rounds otherwise, and dense matrices. Where the
// format stores codes, embedding and output stay dense, as in training, and so do layers that
// training left alone.
bool misfits(const ArtifactWeight& weight, const FormatRow& row, bool has_codes) {
  if (weight.shape.size() != 2) return false;
  if (weight.compressed()) return !keeps_codes(weight, row) || (row.takes && !row.takes(weight));
  const bool in_layer = weight.name.starts_with("model.layers.") && !has_codes;
  const bool wanted = in_layer || dense_type(row.requantize_as).has_value();
  return wanted && row.fit_dense(weight.dtype).verdict == Verdict::impossible;
}

ArtifactWeight fitted(const ArtifactWeight& weight, const FormatRow& row) {
  if (const auto dense = dense_type(row.requantize_as)) return as_dense(weight, *dense);
  const bool keep = keeps_codes(weight, row);  // only its input does not fit
  ArtifactWeight coded = keep ? weight : as_codes(weight, row.requantize_as);
  if (row.takes && !row.takes(coded)) coded.input = row.requantize_input;
  return coded;
}

std::string why_not(const ArtifactWeight& weight, const FormatRow& row) {
  const Fit fit = weight.compressed() ? row.fit(*weight.format) : row.fit_dense(weight.dtype);
  return fit.verdict == Verdict::impossible ? ": " + fit.reason : "";
}

}  // namespace

Artifact requantized(const Artifact& artifact, const FormatRow& row) {
  const auto inexact = [&](const auto& weight) { return has_inexact_scale(weight, row); };
  if (takes_as_it_is(row, artifact) && std::ranges::none_of(artifact.weights, inexact))
    return artifact;
  Artifact changed = artifact;
  const bool has_codes = std::ranges::any_of(artifact.weights, &ArtifactWeight::compressed);
  for (ArtifactWeight& weight : changed.weights) {
    if (!misfits(weight, row, has_codes)) continue;
    if (row.requantize_as.empty())
      fail(ExitCode::usage, "{} has no grid of its own to encode {} on{}", row.format.name(),
           weight.name, why_not(weight, row));
    weight = fitted(weight, row);
    changed.metadata[kKey] = row.format.name();
  }
  return changed;
}

std::string requantized_as(const Metadata& metadata) {
  const auto found = metadata.find(kKey);
  return found == metadata.end() ? "" : found->second;
}

}  // namespace terse
