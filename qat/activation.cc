#include "qat/activation.h"

#include <ATen/ATen.h>

#include "qat/tensors.h"

namespace terse {
namespace {

// Holds every scale of the type exactly, and NaN.
at::ScalarType kept_type(ScaleType type) {
  if (type == ScaleType::e4m3) return at::kFloat8_e4m3fn;
  return type == ScaleType::e8m0 ? at::kBFloat16 : at::kFloat;
}

at::Tensor quantize(const Quantizer& quantizer, const at::Tensor& x, const at::Tensor& step,
                    const at::Tensor& decoded, KeptActivation& kept) {
  const int64_t tokens = x.size(0), columns = x.size(1);
  const CodeFormat& format = quantizer.grid.format;
  const at::Tensor codes = at::empty({tokens, columns}, x.options().dtype(at::kChar));
  kept.scales = step.defined() ? step
                               : at::empty({tokens, groups_of(format, columns)},
                                           x.options().dtype(at::kFloat));
  if (step.defined()) kept.x = x;
  if (quantizer.estimator.masks())
    kept.mask = at::empty({tokens, mask_stride(columns)}, x.options().dtype(at::kByte));
  quantize_tensor(quantizer, x, {codes, kept.scales, kept.mask, decoded});
  kept.codes = keep_codes(format, codes);
  if (format.group > 0) kept.scales = kept.scales.to(kept_type(format.scale_type));
  return codes;
}

}  // namespace

at::Tensor quantize_activation(const Quantizer& quantizer, const at::Tensor& x,
                               const at::Tensor& step, KeptActivation& kept) {
  at::Tensor decoded = at::empty_like(x);
  quantize(quantizer, x, step, decoded, kept);
  return decoded;
}

at::Tensor encode_activation(const Quantizer& quantizer, const at::Tensor& x,
                             KeptActivation& kept) {
  return quantize(quantizer, x, {}, {}, kept);
}

CodedMatrix coded(const Quantizer& quantizer, const KeptActivation& kept) {
  return {quantizer.grid.format, kept.codes, kept.scales.to(at::kFloat), quantizer.grid.second};
}

at::Tensor decode_activation(const Quantizer& quantizer, const KeptActivation& kept,
                             at::ScalarType type) {
  const at::Tensor codes = unpack_codes(quantizer.grid.format, kept.codes);
  at::Tensor decoded = at::empty(codes.sizes(), codes.options().dtype(type));
  decode_tensor(quantizer.grid.format, codes, kept.scales.to(at::kFloat), decoded,
                quantizer.grid.second);
  return decoded;
}

at::Tensor activation_gradient(const Quantizer& quantizer, const KeptActivation& kept,
                               const at::Tensor& d_decoded) {
  at::Tensor out = at::empty_like(d_decoded);
  rotate_tensor(d_decoded, kept.mask, quantizer.grid.format.hadamard, out);
  return out;
}

}  // namespace terse
