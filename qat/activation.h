// An activation as the quantized forward sees it and as the backward keeps it.
#pragma once
#include <ATen/core/Tensor.h>

#include "qat/coded_product.h"
#include "qat/plan.h"

namespace terse {

// What is kept for backward: half a byte or a byte of code and a bit of mask an element instead of
// the values; a byte (e4m3) or two (e8m0, as bf16) a block of fp4.
struct KeptActivation {
  KeptCodes codes;    // [tokens, columns]
  at::Tensor scales;  // fp32 [tokens, 1], or [1] where the step is learned; narrow [tokens, blocks]
  at::Tensor mask;    // bytes [tokens, mask_stride]; undefined = all ones
  at::Tensor x;       // the input itself, which the gradient of a learned step needs
};

// Rotates and quantizes x [tokens, columns] per token or block; returns the decoded values in x's
// type, in the stored space. A token that holds NaN or infinity decodes to NaN, so that the loss
// shows it. `step`: the one learned step of qat/lsq.h as stored, fp32 [1]; undefined: computed per
// token.
at::Tensor quantize_activation(const Quantizer& quantizer, const at::Tensor& x,
                               const at::Tensor& step, KeptActivation& kept);
// The same without decoding or a learned step, for scales a token: returns the codes, int8 [tokens,
// columns]. Such a token's scale is NaN.
at::Tensor encode_activation(const Quantizer& quantizer, const at::Tensor& x, KeptActivation& kept);
CodedMatrix coded(const Quantizer& quantizer, const KeptActivation& kept);
// The decoded values again.
at::Tensor decode_activation(const Quantizer& quantizer, const KeptActivation& kept,
                             at::ScalarType type);
// From the gradient of the decoded values to that of x, in d_decoded's type.
at::Tensor activation_gradient(const Quantizer& quantizer, const KeptActivation& kept,
                               const at::Tensor& d_decoded);

}  // namespace terse
