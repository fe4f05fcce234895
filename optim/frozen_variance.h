// A variance that stays: what 1-bit Adam and 0/1 Adam divide by between refreshes, and which
// coordinates can be served by one bit at all (optim/onebit_adam.h says why).
#pragma once
#include <ATen/core/Tensor.h>

#include "comm/bucket.h"

namespace terse {

// vhat <- v / correction, in place, by segment: at most 1e-24 becomes exactly 0 (dead); others are
// at least (floor times the root mean square of the live roots of the segment)^2.
void freeze_variance(const Bucket& bucket, at::Tensor v, double correction, double floor);

// Optimizer::live() of a frozen variance: undefined if no element is 0. Reads it once.
at::Tensor live_words(const at::Tensor& vhat);

}  // namespace terse
