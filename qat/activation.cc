#include "qat/activation.h"

#include "qat/tensors.h"

namespace terse {

at::Tensor quantize_activation(const Quantizer& quantizer, const at::Tensor& x,
                               KeptActivation& kept) {
  const int64_t tokens = x.size(0), columns = x.size(1);
  kept.codes = at::empty({tokens, columns}, x.options().dtype(at::kChar));
  kept.scales = at::empty({tokens, 1}, x.options().dtype(at::kFloat));
  if (quantizer.estimator.masks())
    kept.mask = at::empty({tokens, mask_stride(columns)}, x.options().dtype(at::kByte));
  at::Tensor decoded = at::empty_like(x);
  quantize_tensor(quantizer, x, {kept.codes, kept.scales, kept.mask, decoded});
  return decoded;
}

at::Tensor decode_activation(const Quantizer& quantizer, const KeptActivation& kept,
                             at::ScalarType type) {
  at::Tensor decoded = at::empty(kept.codes.sizes(), kept.codes.options().dtype(type));
  decode_tensor(quantizer.grid.format, kept.codes, kept.scales, decoded);
  return decoded;
}

at::Tensor activation_gradient(const Quantizer& quantizer, const KeptActivation& kept,
                               const at::Tensor& d_decoded) {
  at::Tensor out = at::empty_like(d_decoded);
  rotate_tensor(d_decoded, kept.mask, quantizer.grid.format.hadamard, out);
  return out;
}

}  // namespace terse
