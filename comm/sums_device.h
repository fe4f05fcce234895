// comm/sums.h on a GPU, with the same bits; waits for the result. Without CUDA in the build no
// tensor is ever on such a device, and calling this is a bug.
#pragma once
#include <ATen/core/Tensor.h>

namespace terse {

// Of x, or of x^2.
double sum_device(const at::Tensor& x, bool squares);

}  // namespace terse
