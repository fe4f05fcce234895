#include "qat/linear_layer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "base/half.h"
#include "qat/tensors.h"

namespace terse {
namespace {

int64_t rotation(const LinearLayer& layer) {
  return layer.representation ? layer.representation->hadamard() : 0;
}

// Undefined where it is computed per token.
at::Tensor step_of_input(const LinearLayer& layer) {
  return layer.input_step ? layer.input_step->scales() : at::Tensor();
}

// The input in the space of the stored weight.
at::Tensor stored_input(const LinearLayer& layer, const at::Tensor& rows, KeptActivation& kept) {
  if (layer.activations)
    return quantize_activation(*layer.activations, rows, step_of_input(layer), kept);
  if (rotation(layer) == 0) return rows;
  at::Tensor rotated = at::empty_like(rows);
  rotate_tensor(rows, {}, rotation(layer), rotated);
  return rotated;
}

void add_widened(const at::Tensor& d, const at::Tensor& grad) {
  const auto* from = reinterpret_cast<const uint16_t*>(d.const_data_ptr());
  auto* to = grad.data_ptr<float>();
  at::parallel_for(0, d.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += bf16_to_float(from[i]);
  });
}

}  // namespace

void decide_product(LinearLayer& layer, const CodeFormat* format) {
  layer.on_codes =
      format != nullptr && layer.activations && !layer.masked &&
      codes_multiply(*format, layer.activations->grid.format, layer.weight, layer.compute);
}

at::Tensor decoded_room(const LinearLayer& layer) {
  if (layer.on_codes) return {};
  if (layer.multiplied.defined()) return layer.multiplied;
  return at::empty(layer.weight.sizes(), layer.weight.options().dtype(layer.compute));
}

void set_multiplied(LinearLayer& layer, const at::Tensor& values) {
  if (layer.on_codes)
    return layer.coded.pack(*layer.representation->coded(), layer.activations->grid.format);
  if (PackedWeight::fits(layer.weight, layer.compute)) return layer.packed.pack(values);
  if (layer.multiplied.is_same(values)) return;
  layer.multiplied = values.to(layer.compute);
}

bool ready(const LinearLayer& layer) {
  return layer.multiplied.defined() || layer.packed.packed() || layer.coded.packed();
}

at::Tensor forward_product(const LinearLayer& layer, const at::Tensor& rows, KeptActivation& kept,
                           at::Tensor& input) {
  if (layer.on_codes) {
    const at::Tensor codes = encode_activation(*layer.activations, rows, kept);
    return layer.coded.forward(codes, kept.scales);
  }
  input = stored_input(layer, rows, kept);
  return layer.packed.packed() ? layer.packed.forward(input) : at::linear(input, layer.multiplied);
}

at::Tensor times_weight(const LinearLayer& layer, const at::Tensor& multiplied,
                        const at::Tensor& dy) {
  if (layer.on_codes) return layer.coded.input_gradient(dy);
  if (layer.packed.packed()) return layer.packed.input_gradient(dy);
  return at::mm(dy, multiplied);
}

at::Tensor input_gradient(const LinearLayer& layer, const KeptActivation& kept,
                          const at::Tensor& d) {
  if (layer.activations) return activation_gradient(*layer.activations, kept, d);
  if (rotation(layer) == 0) return d;
  at::Tensor out = at::empty_like(d);
  rotate_tensor(d, {}, rotation(layer), out);
  return out;
}

at::Tensor step_gradient(const LinearLayer& layer, const KeptActivation& kept,
                         const at::Tensor& d) {
  const at::Tensor codes = unpack_codes(layer.activations->grid.format, kept.codes);
  return layer.input_step->gradient(kept.x, codes, kept.mask, d);
}

at::Tensor preset_gradient(const LinearLayer& layer) {
  const at::Tensor& grad = layer.weight.grad();
  const bool passes = !layer.representation || (layer.masked && layer.masked->passes_gradient());
  const bool fits = passes && grad.defined() && grad.is_cpu() && grad.scalar_type() == at::kFloat &&
                    grad.is_contiguous();
  return fits ? grad : at::Tensor();
}

at::Tensor weight_product(const at::Tensor& dy, const LinearInput& input, const at::Tensor& grad) {
  if (can_pack(dy, input.columns())) {
    const bool add = grad.defined();
    const at::Tensor out =
        add ? grad : at::empty({dy.size(1), input.columns()}, dy.options().dtype(at::kFloat));
    packed_weight_gradient(dy, input.panels(), add, out);
    return add ? at::Tensor() : out;
  }
  const at::Tensor x = input.values(dy.scalar_type());
  // oneDNN's bf16 product is up to 1.6 times slower with fewer rows than columns.
  at::Tensor d = dy.size(1) < x.size(1) ? at::mm(x.t(), dy).t().contiguous() : at::mm(dy.t(), x);
  if (!grad.defined() || d.scalar_type() != at::kBFloat16) return d;
  add_widened(d, grad);
  return {};
}

}  // namespace terse
