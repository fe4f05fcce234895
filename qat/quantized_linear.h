// QuantizedLinear: y = quantize(x) quantize(W)^T with a custom backward, the one Linear of all
// models.
//
// The weight is a fp32 master [out, in]. refresh() encodes it once per optimizer step into the
// compute tensors; forward() may then run any number of micro-batches. With no Representation it is
// a plain linear layer that casts the weight to the compute type, so that models have one code
// path.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>

#include "qat/codes.h"
#include "qat/options.h"

namespace terse {

class Representation;  // qat/representation.h

class QuantizedLinear {
 public:
  // `weight`: fp32 leaf [out, in] that requires grad, shared with the caller. `compute`: at::kFloat
  // or at::kBFloat16. `options` decides whether and how weight and activations are quantized;
  // `name` is matched against options.targets / options.ignore.
  QuantizedLinear(std::string name, at::Tensor weight, const QatOptions& options,
                  at::ScalarType compute);
  ~QuantizedLinear();
  QuantizedLinear(QuantizedLinear&&) noexcept;
  QuantizedLinear& operator=(QuantizedLinear&&) noexcept;

  const std::string& name() const;
  bool quantized() const;  // has a Representation
  const at::Tensor& weight() const;

  // Encodes the current weight; to be called after every change of it, before forward().
  void refresh();
  // x: [..., in] in the compute type; returns [..., out] in the compute type. Differentiable in x
  // and in the weight (the gradient arrives in weight.grad() as fp32).
  at::Tensor forward(const at::Tensor& x);

  // The Codes of the current weight (quantized() only).
  Codes codes() const;
  // Runs on given Codes from now on: evaluation of a checkpoint or an exported file. The weight is
  // then ignored and gets no gradient.
  void use_codes(const Codes& codes);
  // What the forward multiplies with, as fp32 in the stored space: decoded codes, or the weight
  // rounded to the compute type.
  at::Tensor effective_weight() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
