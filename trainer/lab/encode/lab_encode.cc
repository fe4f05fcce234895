#include "trainer/lab/encode/lab_encode.h"

#include <cmath>
#include <map>

#include "base/error.h"
#include "base/half.h"
#include "export/safetensors.h"
#include "qat/plan.h"
#include "qat/quantize.h"

namespace terse {
namespace {

struct Encoded {
  std::vector<int64_t> shape;
  int64_t rows = 1, columns = 1, groups = 1;
  std::vector<int8_t> codes;
  std::vector<float> scales, decoded;
  std::vector<uint8_t> trust;
};

std::vector<float> values_of(const std::string& name, const TensorView& view) {
  const size_t n = static_cast<size_t>(view.numel());
  std::vector<float> values(n);
  if (view.dtype == DType::f32) {
    const auto from = view.as<float>();
    values.assign(from.begin(), from.end());
  } else if (view.dtype == DType::bf16 || view.dtype == DType::f16) {
    const auto from = view.as<uint16_t>();
    for (size_t i = 0; i < n; ++i)
      values[i] = view.dtype == DType::bf16 ? bf16_to_float(from[i]) : fp16_to_float(from[i]);
  } else {
    fail(ExitCode::invalid_file, "tensor '{}' is {}; lab encode takes F32, BF16 and F16", name,
         dtype_name(view.dtype));
  }
  return values;
}

std::vector<uint8_t> unpacked(const std::vector<uint8_t>& mask, int64_t rows, int64_t columns) {
  std::vector<uint8_t> out(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out[static_cast<size_t>(r * columns + c)] =
          mask[static_cast<size_t>(r * mask_stride(columns) + c / 8)] >> (c % 8) & 1;
  return out;
}

Encoded encoded(const Quantizer& quantizer, const std::string& name, const TensorView& view) {
  Encoded e;
  e.shape = view.shape;
  e.columns = view.shape.empty() ? 1 : view.shape.back();
  e.rows = e.columns == 0 ? 0 : view.numel() / e.columns;
  const int64_t group = quantizer.grid.format.group;
  e.groups = group == 0 ? 1 : e.columns / group;
  const std::vector<float> values = values_of(name, view);
  e.codes.resize(values.size());
  e.decoded.resize(values.size());
  e.scales.resize(static_cast<size_t>(e.rows * e.groups));
  std::vector<uint8_t> mask(static_cast<size_t>(e.rows * mask_stride(e.columns)));
  quantize_rows(quantizer.grid, quantizer.estimator,
                {.f32 = values.data(), .rows = e.rows, .columns = e.columns},
                {.codes = e.codes.data(),
                 .scales = e.scales.data(),
                 .f32 = e.decoded.data(),
                 .mask = mask.data()});
  for (const float scale : e.scales)
    if (!std::isfinite(scale))
      fail(ExitCode::non_finite, "tensor '{}' holds NaN, infinity or a value too large for a scale",
           name);
  e.trust = unpacked(mask, e.rows, e.columns);
  return e;
}

Quantizer quantizer_of(const LabEncodeOptions& options, const std::string& name,
                       const TensorView& view) {
  const LayerPlan plan = plan_layer(options.qat, name, view.shape.empty() ? 1 : view.shape.back());
  if (!plan.weight)
    fail(ExitCode::usage, "target '{}' does not quantize weights; nothing to encode in '{}'",
         options.qat.target, name);
  return *plan.weight;
}

Metadata metadata_of(const LabEncodeOptions& options, const Quantizer& quantizer) {
  const CodeFormat& format = quantizer.grid.format;
  return {{"format", to_string(format)},
          {"offset", fmt::format("{}", format.offset)},
          {"hadamard", std::to_string(format.hadamard)},
          {"group", std::to_string(format.group)},
          {"estimator", to_string(quantizer.estimator)},
          {"target", options.qat.target}};
}

}  // namespace

void lab_encode(const LabEncodeOptions& options) {
  const SafetensorsFile file(options.in);
  std::map<std::string, Encoded> results;
  Metadata metadata;
  for (const std::string& name : file.names()) {
    const TensorView view = file.require(name);
    const Quantizer quantizer = quantizer_of(options, name, view);
    results[name] = encoded(quantizer, name, view);
    metadata = metadata_of(options, quantizer);
  }
  std::map<std::string, TensorView> tensors;
  for (const auto& [name, e] : results) {
    const int64_t n = e.rows * e.columns;
    tensors[name + ".codes"] = {DType::i8, e.shape, bytes_of(e.codes.data(), n)};
    tensors[name + ".scales"] = {
        DType::f32, {e.rows, e.groups}, bytes_of(e.scales.data(), e.rows * e.groups)};
    tensors[name + ".decoded"] = {DType::f32, e.shape, bytes_of(e.decoded.data(), n)};
    tensors[name + ".trust"] = {DType::u8, e.shape, bytes_of(e.trust.data(), n)};
  }
  write_safetensors(FileSystem::real(), options.out, tensors, metadata);
}

}  // namespace terse
