// The recipe's optimizer as it builds messages for a compressed exchange, for comm/plan's probe.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>

#include "comm/plan/exchange_probe.h"
#include "optim/options.h"

namespace terse {

// Takes steps on these gradients until the optimizer compresses (1-bit Adam frozen after the first,
// no ramp), then returns its message(). Memory: the optimizer's state for these buckets, as long as
// the function lives. `compression`: as make_optimizer.
FillMessage optimizer_messages(OptimOptions options, const Compression& compression,
                               const BucketPlan& plan, std::span<const at::Tensor> gradients);

}  // namespace terse
