// Rotary embedding and attention in one: from packed projections to the heads' outputs.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "trainer/model/ops/rotary.h"

namespace terse {

// attention(rotary_split(qkv, table, heads, kv_heads), causal); see there for shapes. In bf16 with
// heads of a multiple of 64 on processors that base/product.h is for, by tiles
// (ops/tiled_attention.h): scores and sums are then never rounded, probabilities once, and backward
// keeps the log-sum-exp of each query instead of its probabilities. The same bits for any number of
// threads.
at::Tensor rotary_attention(const at::Tensor& qkv, const RotaryTable& table, int64_t heads,
                            int64_t kv_heads, bool causal);

}  // namespace terse
