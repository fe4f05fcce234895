#include "trainer/snapshot.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "base/error.h"
#include "comm/codec/dense_arrays.h"
#include "comm/tensor_state.h"
#include "qat/lsq.h"
#include "qat/plan.h"
#include "qat/representation.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

// Bits of a mask (sparsity/mask.h) on a matrix of `rows` rows.
void save_mask(StateWriter& state, const std::string& name, int64_t rows,
               std::vector<uint8_t> bits) {
  auto kept = std::make_shared<std::vector<uint8_t>>(std::move(bits));
  state.keep(kept);
  const auto bytes = static_cast<int64_t>(kept->size());
  state.tensor(
      Scope::shared, "mask/" + name,
      {DType::u8, {rows, bytes / std::max<int64_t>(rows, 1)}, bytes_of(kept->data(), bytes)});
}

void save_codes(StateWriter& state, const std::string& name, Codes made) {
  auto codes = std::make_shared<Codes>(std::move(made));
  state.keep(codes);
  const int64_t scale_rows = codes->format.group < 0 ? 1 : codes->rows;
  state.tensor(Scope::shared, "codes/" + name,
               {DType::i8,
                {codes->rows, codes->columns},
                bytes_of(codes->codes.data(), codes->rows * codes->columns)});
  state.tensor(Scope::shared, "scales/" + name,
               {DType::f32,
                {scale_rows, codes->groups()},
                bytes_of(codes->scales.data(), codes->scale_count())});
  state.value(Scope::shared, "format/" + name, to_string(codes->format));
  if (codes->format.scale_type == ScaleType::e4m3)
    state.value(Scope::shared, "tensor_scale/" + name, double{codes->tensor_scale});
  if (!codes->mask.empty()) save_mask(state, name, codes->rows, codes->mask);
}

TensorView load_mask(const StateReader& state, const std::string& name, int64_t rows,
                     int64_t columns) {
  return state.require(Scope::shared, "mask/" + name, DType::u8, {rows, mask_stride(columns)});
}

TensorView rows_of(const TensorView& view, int64_t begin, int64_t end) {
  if (view.shape.size() < 2) return view;
  const auto row = static_cast<size_t>(view.shape[1] * dtype_size(view.dtype));
  return {
      view.dtype,
      {end - begin, view.shape[1]},
      view.data.subspan(static_cast<size_t>(begin) * row, static_cast<size_t>(end - begin) * row)};
}

// Those of a part's rows: the others of a packed matrix are not read.
Codes load_codes(const StateReader& state, const std::string& name, const FileTensor& part,
                 int64_t rows, int64_t columns) {
  Codes codes;
  codes.format = parse_code_format(state.require_text(Scope::shared, "format/" + name));
  codes.rows = part.end - part.begin;
  codes.columns = columns;
  const TensorView data =
      rows_of(state.require(Scope::shared, "codes/" + name, DType::i8, {rows, columns}), part.begin,
              part.end);
  const bool one_scale = codes.format.group < 0;
  TensorView scales = state.require(Scope::shared, "scales/" + name, DType::f32,
                                    {one_scale ? 1 : rows, codes.groups()});
  if (!one_scale) scales = rows_of(scales, part.begin, part.end);
  codes.codes.assign(data.as<int8_t>().begin(), data.as<int8_t>().end());
  codes.scales.assign(scales.as<float>().begin(), scales.as<float>().end());
  state.release(data.data);
  state.release(scales.data);
  if (codes.format.scale_type == ScaleType::e4m3)
    codes.tensor_scale =
        static_cast<float>(state.require_number(Scope::shared, "tensor_scale/" + name));
  if (!codes.format.pattern.empty()) {
    const TensorView mask = rows_of(load_mask(state, name, rows, columns), part.begin, part.end);
    codes.mask.assign(mask.as<uint8_t>().begin(), mask.as<uint8_t>().end());
  }
  codes.validate(name);
  return codes;
}

using State = std::shared_ptr<const StateReader>;

constexpr int64_t kPiece = 1 << 19;  // elements that a writer gets at a time

// A borrowed fp32 tensor, rounded to bf16 piece by piece as a writer asks for it, or as it is.
ByteSource as_type(const State& state, const TensorView& view, DType dtype) {
  return [=](const ByteSink& sink) {
    const auto values = view.as<float>();
    const auto count = static_cast<int64_t>(values.size());
    std::vector<uint16_t> narrow(dtype == DType::bf16 ? static_cast<size_t>(std::min(kPiece, count))
                                                      : 0);
    for (int64_t at = 0; at < count; at += kPiece) {
      const int64_t n = std::min(kPiece, count - at);
      const auto wide = bytes_of(values.data() + at, n);
      if (dtype == DType::bf16) {
        to_bf16(values.data() + at, nullptr, n, narrow.data(), nullptr);
        sink(bytes_of(narrow.data(), n));
      } else {
        sink(wide);
      }
      state->release(wide);
    }
  };
}

// The same of a matrix behind a mask: pruned elements are +0.
ByteSource as_masked(const State& state, const TensorView& view, const TensorView& mask,
                     DType dtype) {
  return [=](const ByteSink& sink) {
    const int64_t columns = view.shape[1];
    const int64_t strip = std::max<int64_t>(1, kPiece / columns);
    std::vector<float> wide(static_cast<size_t>(std::min(strip, view.shape[0]) * columns));
    std::vector<uint16_t> narrow(wide.size());
    for (int64_t r = 0; r < view.shape[0]; r += strip) {
      const int64_t rows = std::min(strip, view.shape[0] - r);
      const float* from = view.as<float>().data() + r * columns;
      blend_rows({.f32 = from}, mask.as<uint8_t>().data() + r * mask_stride(columns), 0.0f, rows,
                 columns, {.f32 = wide.data(), .bf16 = narrow.data()});
      if (dtype == DType::bf16)
        sink(bytes_of(narrow.data(), rows * columns));
      else
        sink(bytes_of(wide.data(), rows * columns));
      state->release(bytes_of(from, rows * columns));
    }
  };
}

ArtifactWeight dense_part(const State& state, const FileTensor& file, const TensorView& view,
                          bool rounded) {
  ArtifactWeight weight;
  weight.name = file.name;
  weight.shape = file.shape;
  weight.dtype = rounded ? DType::bf16 : DType::f32;
  weight.bytes = as_type(state, view, weight.dtype);
  return weight;
}

// Of a weight that is masked and not quantized.
void put_behind_mask(ArtifactWeight& weight, const State& state, const std::string& name,
                     const FileTensor& part, const TensorView& whole) {
  const auto pattern = state->text(Scope::shared, "pattern/" + name);
  if (!pattern) return;
  const TensorView mask = load_mask(*state, name, whole.shape[0], whole.shape[1]);
  weight.pattern = *pattern;
  weight.bytes = as_masked(state, rows_of(whole, part.begin, part.end),
                           rows_of(mask, part.begin, part.end), weight.dtype);
}

// The learned scale of a layer's input.
float input_scale(const StateReader& state, const std::string& layer) {
  const auto log =
      state.require(Scope::shared, fmt::format("model/{}.input_log_step", layer), DType::f32, {1});
  return lsq_scale(log.as<float>()[0], ScaleType::f32);
}

// What the layer that multiplies with this matrix does to its input.
std::optional<InputFormat> input_of(const StateReader& state, const QatOptions& qat,
                                    const ModelWeight& held) {
  if (held.layer.empty()) return std::nullopt;
  const LayerPlan plan = plan_layer(qat, held.layer, held.shape[1]);
  if (!plan.activations) return std::nullopt;
  const Grid& grid = plan.activations->grid;
  const bool learned = grid.rule == ScaleRule::learned;
  return input_format(grid, learned ? input_scale(state, held.layer) : 0.0f);
}

ArtifactWeight codes_part(const State& state, const std::string& name, const FileTensor& part,
                          int64_t rows, int64_t columns) {
  ArtifactWeight weight;
  weight.name = part.name;
  weight.shape = part.shape;
  weight.format = parse_code_format(state->require_text(Scope::shared, "format/" + name));
  weight.codes = [=] { return load_codes(*state, name, part, rows, columns); };
  return weight;
}

Codes joined(const std::vector<Codes>& parts, const std::string& name) {
  Codes all = parts.front();
  for (size_t i = 1; i < parts.size(); ++i) {
    const Codes& part = parts[i];
    const bool one_scale = all.format.group >= 0 || part.scales == all.scales;
    if (!(part.format == all.format) || part.columns != all.columns ||
        part.tensor_scale != all.tensor_scale || !one_scale)
      fail(ExitCode::invalid_file, "the parts of {} are compressed in different ways", name);
    all.rows += part.rows;
    all.codes.insert(all.codes.end(), part.codes.begin(), part.codes.end());
    if (all.format.group >= 0)
      all.scales.insert(all.scales.end(), part.scales.begin(), part.scales.end());
    all.mask.insert(all.mask.end(), part.mask.begin(), part.mask.end());
  }
  return all;
}

}  // namespace

void save_model(Model& model, StateWriter& state) {
  for (const Parameter& parameter : model.parameters())
    state.tensor(Scope::shared, "model/" + parameter.name, host_view(state, parameter.value));
  for (QuantizedLinear* linear : model.linears()) {
    const std::string name = linear->name() + ".weight";
    if (linear->quantized()) {
      save_codes(state, name, linear->codes());
    } else if (auto mask = linear->mask()) {
      save_mask(state, name, linear->weight().size(0), std::move(mask->bits));
      state.value(Scope::shared, "pattern/" + name, to_string(mask->pattern));
    }
  }
}

void load_model(Model& model, const StateReader& state) {
  for (const Parameter& parameter : model.parameters())
    load_tensor(state, "model/" + parameter.name, parameter.value);
  model.refresh();
}

Artifact artifact_of(const std::shared_ptr<const StateReader>& checkpoint, const ModelShape& shape,
                     const QatOptions& qat, at::ScalarType compute) {
  Artifact artifact;
  set_shape(artifact, shape);
  artifact.keep = checkpoint;
  for (const ModelWeight& held : model_weights(shape)) {
    const TensorView view =
        checkpoint->require(Scope::shared, "model/" + held.name, DType::f32, held.shape);
    const bool compressed = checkpoint->text(Scope::shared, "format/" + held.name).has_value();
    const bool rounded = held.product && compute == at::kBFloat16;
    const std::optional<InputFormat> input = input_of(*checkpoint, qat, held);
    for (const FileTensor& part : held.files) {
      if (compressed) {
        artifact.weights.push_back(
            codes_part(checkpoint, held.name, part, held.shape[0], held.shape[1]));
      } else {
        artifact.weights.push_back(
            dense_part(checkpoint, part, rows_of(view, part.begin, part.end), rounded));
        put_behind_mask(artifact.weights.back(), checkpoint, held.name, part, view);
      }
      artifact.weights.back().input = input;
    }
  }
  artifact.validate();
  return artifact;
}

namespace {

// Of the parts of one product.
[[noreturn]] void parts_differ(const std::string& name) {
  fail(
      ExitCode::invalid_file,
      "the parts of {} are stored or round their input in different ways, and are one product here",
      name);
}

// Puts the artifact's values of one parameter into the model; of a layer that has Codes returns
// these instead.
std::optional<Codes> take_weight(const Artifact& artifact, const ModelWeight& held,
                                 const at::Tensor& value) {
  const bool layer = !held.layer.empty();
  const bool coded = layer && artifact.weight(held.files.front().name).compressed();
  std::vector<Codes> pieces;
  for (const FileTensor& part : held.files) {
    const ArtifactWeight& weight = artifact.weight(part.name);
    if (layer && weight.compressed() != coded) parts_differ(held.name);
    if (coded) {
      pieces.push_back(weight.codes());
      continue;
    }
    std::vector<float> dense = effective_values(weight);
    at::Tensor target = value.dim() == 2 ? value.slice(0, part.begin, part.end) : value;
    target.copy_(at::from_blob(dense.data(), target.sizes(), at::kFloat));
  }
  if (!coded) return std::nullopt;
  return joined(pieces, held.name);
}

std::optional<InputFormat> take_input(const Artifact& artifact, const ModelWeight& held) {
  const std::optional<InputFormat>& input = artifact.weight(held.files.front().name).input;
  for (const FileTensor& part : held.files)
    if (artifact.weight(part.name).input != input) parts_differ(held.name);
  return input;
}

}  // namespace

std::unique_ptr<Model> model_of(const Artifact& artifact, const ComputeOptions& compute) {
  artifact.validate();
  const ModelShape shape = shape_of(artifact);
  auto model = make_model(shape, {}, compute, 0);
  std::map<std::string, at::Tensor> values;
  for (Parameter& parameter : model->parameters())
    values.emplace(parameter.name, parameter.value.detach());
  std::map<std::string, QuantizedLinear*> layers;
  for (QuantizedLinear* linear : model->linears()) layers.emplace(linear->name(), linear);
  std::map<QuantizedLinear*, Codes> codes;
  for (const ModelWeight& held : model_weights(shape)) {
    auto made = take_weight(artifact, held, values.at(held.name));
    if (held.layer.empty()) continue;
    QuantizedLinear* layer = layers.at(held.layer);
    layer->use_input(take_input(artifact, held));
    if (made) codes.emplace(layer, std::move(*made));
  }
  model->refresh();
  for (const auto& [layer, made] : codes) layer->use_codes(made);
  return model;
}

}  // namespace terse
