// What the forward and the backward of one QuantizedLinear share, and the products they are made
// of. Implementation of qat/quantized_linear.h, nobody else's.
#pragma once
#include <torch/custom_class.h>

#include <memory>
#include <optional>
#include <string>

#include "qat/activation.h"
#include "qat/coded_product.h"
#include "qat/learned_step.h"
#include "qat/masked.h"
#include "qat/packed_product.h"
#include "qat/representation.h"

namespace terse {

// Kept alive by the graph.
struct LinearLayer : torch::CustomClassHolder {
  std::string name;
  at::ScalarType compute = at::kBFloat16;
  std::optional<Quantizer> activations;
  std::optional<LearnedStep> input_step;           // of activations, where it is learned
  size_t input_edge = 0;                           // its place among autograd's edges; 0: fixed
  bool calibrating = false;                        // the next input sets input_step
  std::unique_ptr<Representation> representation;  // null: plain
  Masked* masked = nullptr;                        // the representation, where it is one
  // What the matmul sees: the weight in the compute type, in the stored space. One of the three.
  at::Tensor multiplied;  // [out, in]
  PackedWeight packed;
  CodedWeight coded;  // and `activations` are codes too
  bool on_codes = false;
  bool frozen = false;  // runs on given codes
  at::Tensor weight;    // the leaf, for preset_gradient()
};

// Chooses how the layer multiplies. `format`: of the weight's codes, if it has any.
void decide_product(LinearLayer& layer, const CodeFormat* format);
// Where encode() shall write: undefined where codes are enough.
at::Tensor decoded_room(const LinearLayer& layer);
// Takes what encode() wrote, or the weight itself.
void set_multiplied(LinearLayer& layer, const at::Tensor& values);
bool ready(const LinearLayer& layer);  // after a set_multiplied()

// Rows of x [rows, in] times the weight, in the compute type. What backward needs of x goes into
// `kept` where activations are codes, else into `input`.
at::Tensor forward_product(const LinearLayer& layer, const at::Tensor& rows, KeptActivation& kept,
                           at::Tensor& input);
// dy W, as the forward multiplied; `multiplied` as it was then.
at::Tensor times_weight(const LinearLayer& layer, const at::Tensor& multiplied,
                        const at::Tensor& dy);
// From the gradient of the input in the stored space to that of x, and of its learned step.
at::Tensor input_gradient(const LinearLayer& layer, const KeptActivation& kept,
                          const at::Tensor& d);
at::Tensor step_gradient(const LinearLayer& layer, const KeptActivation& kept, const at::Tensor& d);

// What backward has of a layer's input: values, or an activation's codes.
struct LinearInput {
  const LinearLayer& layer;
  at::Tensor plain;
  KeptActivation kept;

  int64_t columns() const { return layer.weight.size(1); }
  at::Tensor values(at::ScalarType type) const {
    return plain.defined() ? plain : decode_activation(*layer.activations, kept, type);
  }
  at::Tensor panels() const {
    return plain.defined() ? panels_of(plain) : decoded_panels(coded(*layer.activations, kept));
  }
};

// The weight's .grad, where a gradient can be added to it in place, in one pass where autograd
// would widen it, store it and add it in three. Autograd then gets no gradient from here, but still
// tells the leaf's hook when the last contribution has come. Undefined: not possible here.
at::Tensor preset_gradient(const LinearLayer& layer);
// dy^T x, added to `grad` if that is possible, else returned.
at::Tensor weight_product(const at::Tensor& dy, const LinearInput& input, const at::Tensor& grad);

}  // namespace terse
