// The products of a linear layer whose weight and input both are integer codes: y = x W^T
// multiplies the codes themselves (base/product/codes.h), and backward's products, in bf16, decode
// them strip by strip into panels, so that no decoded copy of either is kept.
//
// On one thread of a Zen 5 with AVX512_VNNI the product of codes took 0.46 to 0.62 of the bf16
// product's time at every shape tried, K = 256 to 2048 (`terse bench quant`, product.int8_*,
// measures it again), so where it is possible it is taken. With AMX, and where codes_multiply() is
// false, decoded values are multiplied.
#pragma once
#include <ATen/core/Tensor.h>

#include "base/product/codes.h"
#include "qat/kept_codes.h"

namespace terse {

// codes with their scales: decoded as in qat/codes.h, without a mask.
struct CodedMatrix {
  CodeFormat format;
  KeptCodes codes;
  at::Tensor scales;  // fp32 [rows, groups], or one
  float tensor_scale = 1.0f;
};

// Whether such a weight [out, in] and such an input, in this compute type, multiply as codes: bf16
// on a CPU with base/product's instructions, at most 8 bits, offsets 0 or 0.5, a weight with one
// scale a row or fewer, an input with one a token (a step for all tokens, as LSQ learns it, could
// not show a token that is not a number), sizes that are multiples of 64, in <= 32768.
bool codes_multiply(const CodeFormat& weight, const CodeFormat& input, const at::Tensor& like,
                    at::ScalarType compute);

class CodedWeight {
 public:
  // `weight`: of formats for which codes_multiply() holds; kept.
  void pack(const CodedMatrix& weight, const CodeFormat& input);
  bool packed() const { return words_.defined(); }

  // codes: int8 [rows, in], scales: fp32, a row's or one; returns bf16 [rows, out]. As
  // base/product/codes.h rounds it, which is nearer to the exact product of the decoded values than
  // bf16 products of them.
  at::Tensor forward(const at::Tensor& codes, const at::Tensor& scales) const;
  // bf16 [rows, out] -> [rows, in], times the decoded weight rounded to bf16.
  at::Tensor input_gradient(const at::Tensor& dy) const;

 private:
  CodedMatrix weight_;
  CodeOffsets offsets_;
  at::Tensor words_, terms_, scales_;
};

// Panels (base/product/product.h) of the decoded values, rounded to bf16; rows even or the last one
// paired with zeros.
at::Tensor decoded_panels(const CodedMatrix& matrix);

}  // namespace terse
