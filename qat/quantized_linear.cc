#include "qat/quantized_linear.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "qat/linear_layer.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Learned tensors: of the representation (a step; codebooks and scales), then the input's step.
constexpr size_t kOfWeight = 2;
constexpr size_t kMostParameters = kOfWeight + 1;
constexpr size_t kFirstParameter = 2;  // among the arguments of forward

at::Tensor matrix_of(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

class LinearFunction : public Function<LinearFunction> {
 public:
  // `weight` and the representation's parameters only tell autograd where gradients go; the matmul
  // sees the encoded copy.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& /*weight*/,
                            const std::optional<at::Tensor>& /*parameter 0*/,
                            const std::optional<at::Tensor>& /*parameter 1*/,
                            const std::optional<at::Tensor>& /*the input's step*/,
                            const c10::intrusive_ptr<LinearLayer>& layer) {
    KeptActivation kept;
    const at::Tensor rows = matrix_of(x).contiguous();
    at::Tensor input;
    const at::Tensor y = forward_product(*layer, rows, kept, input);
    if (layer->activations)
      ctx->save_for_backward({layer->multiplied, kept.codes.bytes, kept.scales, kept.mask, kept.x});
    else
      ctx->save_for_backward({layer->multiplied, input});
    ctx->saved_data["layer"] = at::IValue::make_capsule(layer);
    ctx->saved_data["shape"] = x.sizes().vec();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = y.size(1);
    return y.view(shape);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto layer =
        c10::static_intrusive_pointer_cast<LinearLayer>(ctx->saved_data["layer"].toCapsule());
    const variable_list saved = ctx->get_saved_variables();
    LinearInput input{*layer, {}, {}};
    if (layer->activations)
      input.kept = {{saved[1], input.columns()}, saved[2], saved[3], saved[4]};
    else
      input.plain = saved[1];
    const at::Tensor dy = matrix_of(grads[0]).contiguous();
    variable_list result(kFirstParameter + kMostParameters + 1);  // one an argument of forward
    const bool step_learns =
        layer->input_edge != 0 && !layer->frozen && ctx->needs_input_grad(layer->input_edge);
    if (ctx->needs_input_grad(0) || step_learns) {
      const at::Tensor d = times_weight(*layer, saved[0], dy);
      result[0] =
          input_gradient(*layer, input.kept, d).view(ctx->saved_data["shape"].toIntVector());
      if (step_learns) result[kFirstParameter + kOfWeight] = step_gradient(*layer, input.kept, d);
    }
    if (!ctx->needs_input_grad(1)) return result;
    const at::Tensor preset = preset_gradient(*layer);
    const at::Tensor d = weight_product(dy, input, preset);
    if (d.defined())
      weight_gradients(*layer, d, result);
    else if (layer->masked)
      layer->masked->pull(preset);
    return result;
  }

 private:
  static void weight_gradients(LinearLayer& layer, const at::Tensor& d, variable_list& result) {
    if (!layer.representation) {
      result[1] = d.to(at::kFloat);
      return;
    }
    RepresentationGradients gradients = layer.representation->backward(d);
    result[1] = gradients.weight;
    std::move(gradients.parameters.begin(), gradients.parameters.end(),
              result.begin() + kFirstParameter);
  }
};

void put_behind_mask(LinearLayer& layer, const LayerMask& mask) {
  auto masked = std::make_unique<Masked>(layer.name, mask, std::move(layer.representation));
  layer.masked = masked.get();
  layer.representation = std::move(masked);
}

bool learns(const Quantizer& quantizer) {
  return quantizer.grid.rule == ScaleRule::learned;
}

std::unique_ptr<Representation> representation_of(const std::string& name,
                                                  const Quantizer& quantizer,
                                                  const at::Tensor& weight) {
  return learns(quantizer) ? make_lsq(name, quantizer, weight) : make_uniform(name, quantizer);
}

bool has_codes(const LinearLayer& layer) {
  return layer.representation && (!layer.masked || layer.masked->has_codes());
}

}  // namespace

struct QuantizedLinear::Impl {
  at::Tensor weight;
  std::vector<LearnedTensor> named;  // learned, with the layer's name
  std::array<std::optional<at::Tensor>, kMostParameters> learned;
  c10::intrusive_ptr<LinearLayer> layer;

  void learn(size_t place, const LearnedTensor& tensor) {
    named.push_back({fmt::format("{}.{}", layer->name, tensor.name), tensor.value});
    learned[place] = tensor.value;
  }
};

QuantizedLinear::QuantizedLinear(std::string name, at::Tensor weight, const QatOptions& options,
                                 at::ScalarType compute, const SparsityRun& sparsity)
    : impl_(std::make_unique<Impl>()) {
  TERSE_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kFloat, "fp32 matrix for {}", name);
  LayerPlan plan = plan_layer(options, name, weight.size(1));
  impl_->layer = c10::make_intrusive<LinearLayer>();
  LinearLayer& layer = *impl_->layer;
  layer.name = name;
  layer.compute = compute;
  layer.activations = plan.activations;
  if (plan.weight) layer.representation = representation_of(name, *plan.weight, weight);
  if (plan.activations && learns(*plan.activations))
    layer.input_step =
        LearnedStep::of_input(plan.activations->grid.format, weight.size(1), weight.device());
  if (const auto mask = plan_mask(sparsity, name, weight.size(1))) put_behind_mask(layer, *mask);
  layer.weight = weight;
  decide_product(layer, plan.weight ? &plan.weight->grid.format : nullptr);
  impl_->weight = std::move(weight);
  if (layer.representation) {
    const std::vector<LearnedTensor> of_weight = layer.representation->parameters();
    TERSE_CHECK(of_weight.size() <= kOfWeight, "{} learned tensors", of_weight.size());
    for (size_t i = 0; i < of_weight.size(); ++i) impl_->learn(i, of_weight[i]);
  }
  if (!layer.input_step) return;
  layer.input_edge = kFirstParameter + impl_->named.size();  // absent arguments have none
  impl_->learn(kOfWeight, {"input_log_step", layer.input_step->log()});
}

QuantizedLinear::~QuantizedLinear() = default;
QuantizedLinear::QuantizedLinear(QuantizedLinear&&) noexcept = default;
QuantizedLinear& QuantizedLinear::operator=(QuantizedLinear&&) noexcept = default;

const std::string& QuantizedLinear::name() const {
  return impl_->layer->name;
}
bool QuantizedLinear::quantized() const {
  return has_codes(*impl_->layer);
}
bool QuantizedLinear::masked() const {
  return impl_->layer->masked != nullptr;
}
const at::Tensor& QuantizedLinear::weight() const {
  return impl_->weight;
}

void QuantizedLinear::refresh(int64_t taken) {
  const at::NoGradGuard no_grad;
  LinearLayer& layer = *impl_->layer;
  if (layer.input_step) layer.input_step->refresh(layer.name);
  if (layer.frozen) return;
  if (layer.masked) layer.masked->set_step(taken);
  at::Tensor values = impl_->weight.detach();
  if (layer.representation) {
    const at::Tensor weight = std::exchange(values, decoded_room(layer));
    layer.representation->encode(weight, values);
  }
  set_multiplied(layer, values);
}

void QuantizedLinear::set_dense_steps(int64_t steps) {
  if (impl_->layer->masked) impl_->layer->masked->set_dense(steps);
}

MaskProgress QuantizedLinear::mask_progress() const {
  const Masked* masked = impl_->layer->masked;
  TERSE_CHECK(masked, "{} has no mask", name());
  return {masked->state(), masked->changed(), impl_->weight.numel()};
}

void QuantizedLinear::after_step(double learning_rate) {
  const at::NoGradGuard no_grad;
  const LinearLayer& layer = *impl_->layer;
  if (layer.masked && !layer.frozen)
    layer.masked->after_step(learning_rate, impl_->weight.detach());
}

at::Tensor QuantizedLinear::forward(const at::Tensor& x) {
  LinearLayer& layer = *impl_->layer;
  // Not a copy, and the Reducer may have moved the weight's storage since the last refresh().
  if (!layer.representation && layer.compute == at::kFloat)
    layer.multiplied = impl_->weight.detach();
  TERSE_CHECK(ready(layer), "{}: forward before refresh", layer.name);
  if (std::exchange(layer.calibrating, false)) {
    layer.input_step->start(matrix_of(x.detach()));
    layer.input_step->refresh(layer.name);
  }
  const std::optional<at::Tensor> none;
  if (layer.frozen)
    return LinearFunction::apply(x, impl_->weight.detach(), none, none, none, impl_->layer);
  return LinearFunction::apply(x, impl_->weight, impl_->learned[0], impl_->learned[1],
                               impl_->learned[2], impl_->layer);
}

const std::vector<LearnedTensor>& QuantizedLinear::learned() const {
  return impl_->named;
}

bool QuantizedLinear::calibrate() {
  impl_->layer->calibrating = impl_->layer->input_step.has_value();
  return impl_->layer->calibrating;
}

std::optional<InputFormat> QuantizedLinear::input() const {
  const LinearLayer& layer = *impl_->layer;
  if (!layer.activations) return std::nullopt;
  const float scale = layer.input_step ? layer.input_step->scales().item<float>() : 0.0f;
  return input_format(layer.activations->grid, scale);
}

Codes QuantizedLinear::codes() const {
  TERSE_CHECK(quantized(), "{} is not quantized", name());
  return impl_->layer->representation->codes();
}

std::optional<WeightMask> QuantizedLinear::mask() const {
  const Masked* masked = impl_->layer->masked;
  if (masked == nullptr || !masked->mask().defined()) return std::nullopt;
  const at::Tensor bits = masked->mask().cpu();
  const uint8_t* first = bits.const_data_ptr<uint8_t>();
  return WeightMask{masked->state().pattern, {first, first + bits.numel()}};
}

void QuantizedLinear::use_codes(const Codes& codes) {
  const at::NoGradGuard no_grad;
  LinearLayer& layer = *impl_->layer;
  if (!has_codes(layer)) {
    // A file says all that a forward needs; how the codes were made does not matter any more.
    Quantizer quantizer;
    quantizer.grid.format = codes.format;
    quantizer.grid.format.pattern.clear();
    layer.masked = nullptr;
    layer.representation = make_uniform(layer.name, quantizer);
  }
  if (!codes.format.pattern.empty() && !layer.masked) put_behind_mask(layer, {});
  if (layer.activations) layer.activations->grid.format.hadamard = codes.format.hadamard;
  const at::Tensor decoded =
      at::empty(layer.weight.sizes(), layer.weight.options().dtype(layer.compute));
  layer.representation->adopt(codes, decoded);
  decide_product(layer, &codes.format);
  set_multiplied(layer, decoded);
  layer.frozen = true;
}

void QuantizedLinear::use_input(const std::optional<InputFormat>& input) {
  LinearLayer& layer = *impl_->layer;
  layer.activations.reset();
  layer.input_step.reset();
  layer.input_edge = 0;
  layer.on_codes = false;
  if (!input) return;
  const Grid grid = input_grid(*input, 0);
  if (grid.format.group > 0 && layer.weight.size(1) % grid.format.group != 0)
    fail(ExitCode::invalid_file, "layer '{}' has {} inputs, no multiple of the blocks of '{}'",
         layer.name, layer.weight.size(1), to_string(*input));
  layer.activations = Quantizer{grid, {Estimator::Kind::straight_through, 1.0f}};
  if (input->scale == 0.0f) return;
  layer.input_step =
      LearnedStep::of_input(grid.format, layer.weight.size(1), layer.weight.device());
  layer.input_step->fix(input->scale);
}

at::Tensor QuantizedLinear::effective_weight() const {
  const LinearLayer& layer = *impl_->layer;
  if (has_codes(layer)) return layer.representation->decode();
  if (layer.packed.packed()) return layer.packed.values().to(at::kFloat);
  return layer.multiplied.detach().to(at::kFloat).clone();
}

}  // namespace terse
