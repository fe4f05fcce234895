// Grouped-query attention as two batched matmuls around a fused softmax:
//   out = softmax(q k^T / sqrt(head)) v     a query sees keys 0 .. its own position when causal.
// On CPUs this beats flash attention, whose backward is slow there, up to a few thousand positions;
// the probabilities (batch heads length^2 in the compute type) are kept for backward.
#pragma once
#include <ATen/core/Tensor.h>

#include "trainer/model/ops/rotary.h"

namespace terse {

// Returns [batch, length, heads head] in the type of q. Query head i reads key head i / (heads /
// kv_heads). Softmax in fp32; scores and probabilities are rounded to the compute type.
at::Tensor attention(const Heads& heads, bool causal);

// The same from ATen operations, on any device.
at::Tensor composed_attention(const Heads& heads, bool causal);

}  // namespace terse
