// Residual addition and RMSNorm in one pass (Zhang and Sennrich 2019, arXiv 1910.07467):
//   sum = x + delta,   y = weight * sum / sqrt(mean(sum^2) + eps)   over the last dimension.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

namespace terse {

struct AddNorm {
  at::Tensor sum;  // the residual stream, fp32; `x` itself when there is no delta
  at::Tensor y;    // in `compute`
};

// x: fp32 [..., width]; delta: compute type, same shape; weight: fp32 [width]. Differentiable in
// all three; d weight is summed over blocks of 64 rows in order, whatever the number of threads.
// Keeps `sum` and one float a row for backward.
AddNorm add_norm(const at::Tensor& x, const std::optional<at::Tensor>& delta,
                 const at::Tensor& weight, double eps, at::ScalarType compute);

// The same from ATen operations, on any device.
AddNorm composed_add_norm(const at::Tensor& x, const std::optional<at::Tensor>& delta,
                          const at::Tensor& weight, double eps, at::ScalarType compute);

}  // namespace terse
