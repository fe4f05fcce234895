// Sums over flat fp32 tensors that do not depend on threads or instruction set.
//
// fp64 accumulation: 16 interleaved lanes within a block of 16,384 elements, lanes then blocks
// added in ascending order. One streaming read at memory speed. Bit for bit the same for every
// thread count and instruction set, and on a GPU (which the host waits for).
#pragma once
#include <ATen/core/Tensor.h>

namespace terse {

// Sum of x^2. Not finite exactly if an element is not: squares of fp32 cannot overflow fp64, so
// this one number is both the norm and the check for NaN and infinity.
double sum_of_squares(const at::Tensor& x);
// The same of host memory by the calling thread alone, at most kSumBlock elements: for who reads
// them anyway.
double sum_of_squares(const float* x, int64_t count);
// Sum of x.
double plain_sum(const at::Tensor& x);

}  // namespace terse
