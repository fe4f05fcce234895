// The kernels of qat/quantize.h on tensors: split among threads, CPU or CUDA by the tensor's
// device. Tensors are contiguous [rows, columns]; undefined outputs are not written.
#pragma once
#include <ATen/core/Tensor.h>

#include "qat/plan.h"
#include "qat/quantize.h"

namespace terse {

struct QuantizedTensor {
  at::Tensor codes;    // int8 [rows, columns]
  at::Tensor scales;   // fp32 [rows, groups], or one where the tensor shares it
  at::Tensor mask;     // bytes [rows, mask_stride(columns)]
  at::Tensor decoded;  // fp32 or bf16 [rows, columns], in the stored space
};

// `in` is fp32 or bf16. On CUDA: the group must be a row or a power of two up to 1024, the rotation
// block at most 1024; Error(usage) otherwise or where the build has no CUDA kernels.
// Returns the tensor's second scale (e4m3), else 1; where scales_given() but for a whole tensor's
// own, reads out.scales.
float quantize_tensor(const Quantizer& quantizer, const at::Tensor& in, const QuantizedTensor& out);
void decode_tensor(const CodeFormat& format, const at::Tensor& codes, const at::Tensor& scales,
                   const at::Tensor& out, float tensor_scale = 1.0f);
// The sums of qat/lsq.h's ds, fp32 [rows groups]: `made` by quantizing `values` on `format`, d the
// gradient of the decoded values.
at::Tensor step_gradient_tensor(const CodeFormat& format, const QuantizedTensor& made,
                                const at::Tensor& values, const at::Tensor& d);
// out = rotate(mask .* in); out is fp32 or bf16; an undefined mask is all ones.
void rotate_tensor(const at::Tensor& in, const at::Tensor& mask, int64_t hadamard,
                   const at::Tensor& out);

}  // namespace terse
