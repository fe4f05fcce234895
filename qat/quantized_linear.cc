#include "qat/quantized_linear.h"

#include <torch/custom_class.h>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "base/half.h"
#include "qat/activation.h"
#include "qat/masked.h"
#include "qat/packed_product.h"
#include "qat/representation.h"
#include "qat/tensors.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// What forward and backward share; kept alive by the graph.
struct Layer : torch::CustomClassHolder {
  std::string name;
  at::ScalarType compute = at::kBFloat16;
  std::optional<Quantizer> activations;
  std::unique_ptr<Representation> representation;  // null: plain
  Masked* masked = nullptr;                        // the representation, where it is one
  at::Tensor multiplied;  // [out, in], compute type, stored space: what the matmul sees
  PackedWeight packed;    // of `multiplied`, where the processor gains by it
  bool frozen = false;    // runs on given codes
  at::Tensor weight;      // the leaf, for preset_gradient()
};

// Learned tensors of a representation (a step; codebooks and scales).
constexpr size_t kMostParameters = 2;

int64_t rotation(const Layer& layer) {
  return layer.representation ? layer.representation->hadamard() : 0;
}

at::Tensor rows_of(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

// The input in the space of the stored weight.
at::Tensor stored_input(const Layer& layer, const at::Tensor& rows, KeptActivation& kept) {
  if (layer.activations) return quantize_activation(*layer.activations, rows, kept);
  if (rotation(layer) == 0) return rows;
  at::Tensor rotated = at::empty_like(rows);
  rotate_tensor(rows, {}, rotation(layer), rotated);
  return rotated;
}

at::Tensor input_gradient(const Layer& layer, const KeptActivation& kept, const at::Tensor& d) {
  if (layer.activations) return activation_gradient(*layer.activations, kept, d);
  if (rotation(layer) == 0) return d;
  at::Tensor out = at::empty_like(d);
  rotate_tensor(d, {}, rotation(layer), out);
  return out;
}

// The weight's .grad, where a gradient can be added to it in place, in one pass where autograd
// would widen it, store it and add it in three. Autograd then gets no gradient from here, but still
// tells the leaf's hook when the last contribution has come. Undefined: not possible here.
at::Tensor preset_gradient(const Layer& layer) {
  const at::Tensor& grad = layer.weight.grad();
  const bool passes = !layer.representation || (layer.masked && layer.masked->passes_gradient());
  const bool fits = passes && grad.defined() && grad.is_cpu() && grad.scalar_type() == at::kFloat &&
                    grad.is_contiguous();
  return fits ? grad : at::Tensor();
}

void add_widened(const at::Tensor& d, const at::Tensor& grad) {
  const auto* from = reinterpret_cast<const uint16_t*>(d.const_data_ptr());
  auto* to = grad.data_ptr<float>();
  at::parallel_for(0, d.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += bf16_to_float(from[i]);
  });
}

// dy^T x, added to `grad` if that is possible, else returned.
at::Tensor weight_product(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& grad) {
  if (can_pack(dy, x)) {
    const bool add = grad.defined();
    const at::Tensor out =
        add ? grad : at::empty({dy.size(1), x.size(1)}, dy.options().dtype(at::kFloat));
    packed_weight_gradient(dy, x, add, out);
    return add ? at::Tensor() : out;
  }
  // oneDNN's bf16 product is up to 1.6 times slower with fewer rows than columns.
  at::Tensor d = dy.size(1) < x.size(1) ? at::mm(x.t(), dy).t().contiguous() : at::mm(dy.t(), x);
  if (!grad.defined() || d.scalar_type() != at::kBFloat16) return d;
  add_widened(d, grad);
  return {};
}

class LinearFunction : public Function<LinearFunction> {
 public:
  // `weight` and the representation's parameters only tell autograd where gradients go; the matmul
  // sees the encoded copy.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& /*weight*/,
                            const std::optional<at::Tensor>& /*parameter 0*/,
                            const std::optional<at::Tensor>& /*parameter 1*/,
                            const c10::intrusive_ptr<Layer>& layer) {
    KeptActivation kept;
    const at::Tensor rows = rows_of(x).contiguous();
    const at::Tensor input = stored_input(*layer, rows, kept);
    if (layer->activations)
      ctx->save_for_backward({layer->multiplied, kept.codes, kept.scales, kept.mask});
    else
      ctx->save_for_backward({layer->multiplied, input});
    ctx->saved_data["layer"] = at::IValue::make_capsule(layer);
    ctx->saved_data["shape"] = x.sizes().vec();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = layer->multiplied.size(0);
    const at::Tensor y = layer->packed.packed() ? layer->packed.forward(input)
                                                : at::linear(input, layer->multiplied);
    return y.view(shape);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto layer =
        c10::static_intrusive_pointer_cast<Layer>(ctx->saved_data["layer"].toCapsule());
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor& multiplied = saved[0];
    KeptActivation kept;
    if (layer->activations) kept = {saved[1], saved[2], saved[3]};
    const at::Tensor dy = rows_of(grads[0]).contiguous();
    variable_list result(2 + kMostParameters + 1);  // one an argument of forward
    if (ctx->needs_input_grad(0)) {
      const at::Tensor d =
          layer->packed.packed() ? layer->packed.input_gradient(dy) : at::mm(dy, multiplied);
      result[0] = input_gradient(*layer, kept, d).view(ctx->saved_data["shape"].toIntVector());
    }
    if (!ctx->needs_input_grad(1)) return result;
    const at::Tensor input = layer->activations
                                 ? decode_activation(*layer->activations, kept, dy.scalar_type())
                                 : saved[1];
    const at::Tensor preset = preset_gradient(*layer);
    const at::Tensor d = weight_product(dy, input, preset);
    if (d.defined())
      weight_gradients(*layer, d, result);
    else if (layer->masked)
      layer->masked->pull(preset);
    return result;
  }

 private:
  static void weight_gradients(Layer& layer, const at::Tensor& d, variable_list& result) {
    if (!layer.representation) {
      result[1] = d.to(at::kFloat);
      return;
    }
    RepresentationGradients gradients = layer.representation->backward(d);
    result[1] = gradients.weight;
    std::move(gradients.parameters.begin(), gradients.parameters.end(), result.begin() + 2);
  }
};

void put_behind_mask(Layer& layer, const LayerMask& mask) {
  auto masked = std::make_unique<Masked>(layer.name, mask, std::move(layer.representation));
  layer.masked = masked.get();
  layer.representation = std::move(masked);
}

bool has_codes(const Layer& layer) {
  return layer.representation && (!layer.masked || layer.masked->has_codes());
}

}  // namespace

struct QuantizedLinear::Impl {
  at::Tensor weight;
  std::array<std::optional<at::Tensor>, kMostParameters> learned;
  c10::intrusive_ptr<Layer> layer;
};

QuantizedLinear::QuantizedLinear(std::string name, at::Tensor weight, const QatOptions& options,
                                 at::ScalarType compute, const SparsityRun& sparsity)
    : impl_(std::make_unique<Impl>()) {
  TERSE_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kFloat, "fp32 matrix for {}", name);
  LayerPlan plan = plan_layer(options, name, weight.size(1));
  impl_->layer = c10::make_intrusive<Layer>();
  Layer& layer = *impl_->layer;
  layer.name = name;
  layer.compute = compute;
  layer.activations = plan.activations;
  if (plan.weight) layer.representation = make_uniform(name, *plan.weight);
  if (const auto mask = plan_mask(sparsity, name, weight.size(1))) put_behind_mask(layer, *mask);
  if (layer.representation || compute != at::kFloat)
    layer.multiplied = at::empty(weight.sizes(), weight.options().dtype(compute));
  layer.weight = weight;
  impl_->weight = std::move(weight);
  if (!layer.representation) return;
  const std::vector<LearnedTensor> learned = layer.representation->parameters();
  TERSE_CHECK(learned.size() <= kMostParameters, "{} learned tensors", learned.size());
  for (size_t i = 0; i < learned.size(); ++i) impl_->learned[i] = learned[i].value;
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
  Layer& layer = *impl_->layer;
  if (layer.frozen) return;
  if (layer.masked) layer.masked->set_step(taken);
  const at::Tensor weight = impl_->weight.detach();
  if (layer.representation)
    layer.representation->encode(weight, layer.multiplied);
  else if (layer.compute == at::kFloat)
    layer.multiplied = weight;
  else
    layer.multiplied.copy_(weight);
  layer.packed.pack(layer.multiplied);
}

void QuantizedLinear::after_step(double learning_rate) {
  const at::NoGradGuard no_grad;
  const Layer& layer = *impl_->layer;
  if (layer.masked && !layer.frozen)
    layer.masked->after_step(learning_rate, impl_->weight.detach());
}

at::Tensor QuantizedLinear::forward(const at::Tensor& x) {
  Layer& layer = *impl_->layer;
  // Not a copy, and the Reducer may have moved the weight's storage since the last refresh().
  if (!layer.representation && layer.compute == at::kFloat)
    layer.multiplied = impl_->weight.detach();
  TERSE_CHECK(layer.multiplied.defined(), "{}: forward before refresh", layer.name);
  const std::optional<at::Tensor> none;
  if (layer.frozen)
    return LinearFunction::apply(x, impl_->weight.detach(), none, none, impl_->layer);
  return LinearFunction::apply(x, impl_->weight, impl_->learned[0], impl_->learned[1],
                               impl_->layer);
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
  Layer& layer = *impl_->layer;
  if (!has_codes(layer)) {
    // A file says all that a forward needs; how the codes were made does not matter any more.
    Quantizer quantizer;
    quantizer.grid.format = codes.format;
    quantizer.grid.format.pattern.clear();
    layer.masked = nullptr;
    layer.representation = make_uniform(layer.name, quantizer);
    layer.multiplied =
        at::empty(impl_->weight.sizes(), impl_->weight.options().dtype(layer.compute));
  }
  if (!codes.format.pattern.empty() && !layer.masked) put_behind_mask(layer, {});
  layer.representation->adopt(codes, layer.multiplied);
  layer.packed.pack(layer.multiplied);
  layer.frozen = true;
}

at::Tensor QuantizedLinear::effective_weight() const {
  const Layer& layer = *impl_->layer;
  if (has_codes(layer)) return layer.representation->decode();
  return layer.multiplied.detach().to(at::kFloat).clone();
}

}  // namespace terse
