#include "trainer/lab/encode/lab_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "base/half.h"
#include "export/safetensors.h"
#include "qat/lsq.h"
#include "qat/plan.h"
#include "qat/quantize.h"

namespace terse {
namespace {

struct Encoded {
  std::vector<int64_t> shape;
  int64_t rows = 1, columns = 1, scale_rows = 1, groups = 1;
  std::vector<int8_t> codes;
  std::vector<float> scales, decoded;
  bool second = false;  // has a second scale
  float tensor_scale = 1.0f;
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

// The four bits of an E2M1 value: sign, then the place of its size among 0 to 6.
int8_t nibble(int8_t code) {
  constexpr std::array<int, 8> kSizes = {0, 1, 2, 3, 4, 6, 8, 12};
  const auto place = std::find(kSizes.begin(), kSizes.end(), std::abs(int{code}));
  return static_cast<int8_t>((code < 0 ? 8 : 0) + (place - kSizes.begin()));
}

// The one scale of the tensor, or the second scale of its groups.
void share_scale(const Grid& grid, const RowsIn& in, Encoded& e) {
  std::vector<float> statistics(static_cast<size_t>(in.rows));
  row_statistics(grid, in, statistics.data());
  const float scale = shared_scale(grid, statistics.data(), in.rows);
  e.second = grid.format.group >= 0;
  if (e.second)
    e.tensor_scale = scale;
  else
    e.scales.front() = scale;
}

// Where LSQ's learning begins.
std::vector<float> first_steps(const CodeFormat& format, const RowsIn& in) {
  std::vector<float> z(static_cast<size_t>(in.rows * in.columns)), scales;
  rotate_rows(in, nullptr, format.hadamard, z.data(), nullptr);
  for (const double step : lsq_start(format, z.data(), in.rows, in.columns))
    scales.push_back(lsq_scale(static_cast<float>(std::log(step)), format.scale_type));
  return scales;
}

Encoded encoded(const Quantizer& quantizer, const std::string& name, const TensorView& view) {
  const Grid& grid = quantizer.grid;
  Encoded e;
  e.shape = view.shape;
  e.columns = view.shape.empty() ? 1 : view.shape.back();
  e.rows = e.columns == 0 ? 0 : view.numel() / e.columns;
  e.groups = groups_of(grid.format, e.columns);
  e.scale_rows = grid.format.group < 0 ? 1 : e.rows;
  const bool learned = grid.rule == ScaleRule::learned;
  const std::vector<float> values = values_of(name, view);
  const RowsIn in{.f32 = values.data(), .rows = e.rows, .columns = e.columns};
  e.codes.resize(values.size());
  e.decoded.resize(values.size());
  e.scales.resize(static_cast<size_t>(e.scale_rows * e.groups));
  if (learned) e.scales = first_steps(grid.format, in);
  if (shares_scale(grid)) share_scale(grid, in, e);
  std::vector<uint8_t> mask(static_cast<size_t>(e.rows * mask_stride(e.columns)));
  quantize_rows(grid, quantizer.estimator, in,
                {.codes = e.codes.data(),
                 .scales = e.scales.data(),
                 .f32 = e.decoded.data(),
                 .mask = mask.data(),
                 .tensor_scale = e.tensor_scale});
  for (const float x : learned ? e.decoded : e.scales)
    if (!std::isfinite(x))
      fail(ExitCode::non_finite, "tensor '{}' holds NaN, infinity or a value too large for a scale",
           name);
  if (grid.rounding == Rounding::fp4)
    std::transform(e.codes.begin(), e.codes.end(), e.codes.begin(), nibble);
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
          {"scale", to_string(quantizer.grid.rule)},
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
        DType::f32, {e.scale_rows, e.groups}, bytes_of(e.scales.data(), e.scale_rows * e.groups)};
    if (e.second) tensors[name + ".scale2"] = {DType::f32, {1}, bytes_of(&e.tensor_scale, 1)};
    tensors[name + ".decoded"] = {DType::f32, e.shape, bytes_of(e.decoded.data(), n)};
    tensors[name + ".trust"] = {DType::u8, e.shape, bytes_of(e.trust.data(), n)};
  }
  write_safetensors(FileSystem::real(), options.out, tensors, metadata);
}

}  // namespace terse
