// An activation as the quantized forward sees it and as the backward keeps it.
#pragma once
#include <ATen/core/Tensor.h>

#include "qat/plan.h"

namespace terse {

// What is kept for backward: a byte of code and a bit of mask an element instead of the values.
struct KeptActivation {
  at::Tensor codes;   // int8 [tokens, columns]
  at::Tensor scales;  // fp32 [tokens, 1]
  at::Tensor mask;    // bytes [tokens, mask_stride]; undefined = all ones
};

// Rotates and quantizes x [tokens, columns] per token; returns the decoded values in x's type, in
// the stored space. A token that holds NaN or infinity decodes to NaN, so that the loss shows it.
at::Tensor quantize_activation(const Quantizer& quantizer, const at::Tensor& x,
                               KeptActivation& kept);
// The same values again.
at::Tensor decode_activation(const Quantizer& quantizer, const KeptActivation& kept,
                             at::ScalarType type);
// From the gradient of the decoded values to that of x, in d_decoded's type.
at::Tensor activation_gradient(const Quantizer& quantizer, const KeptActivation& kept,
                               const at::Tensor& d_decoded);

}  // namespace terse
