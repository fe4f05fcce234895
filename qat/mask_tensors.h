// The kernels of sparsity/mask.h on tensors: split among threads. Tensors are contiguous
// [rows, columns]; a mask is uint8 [rows, mask_stride(columns)] on the same device.
#pragma once
#include <ATen/core/Tensor.h>

#include "sparsity/mask.h"

namespace terse {

// The mask of fp32 `weight`, new. Undefined if the weight holds NaN or infinity.
at::Tensor select_mask_tensor(const Pattern& pattern, const at::Tensor& weight);
// out = in where the mask is 1, else beta in. Each fp32 or bf16; `out` may be `in`.
void blend_tensor(const at::Tensor& in, const at::Tensor& mask, float beta, const at::Tensor& out);
// out += factor in where the mask is 0. fp32; `out` may be `in`.
void add_pruned_tensor(const at::Tensor& in, const at::Tensor& mask, float factor,
                       const at::Tensor& out);

}  // namespace terse
