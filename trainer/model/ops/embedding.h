// Token embedding with a deterministic gradient.
#pragma once
#include <ATen/core/Tensor.h>

namespace terse {

// weight: fp32 [vocab, width]; tokens: int64, any shape, each in [0, vocab). Returns fp32 [...,
// width]; with `round` the values are rounded to bf16, so that a tied table is read as the output
// layer multiplies with it. The gradient is dense fp32 and adds positions in order, whatever the
// number of threads.
at::Tensor embedding(const at::Tensor& weight, const at::Tensor& tokens, bool round = false);

// The same from ATen operations, on any device.
at::Tensor composed_embedding(const at::Tensor& weight, const at::Tensor& tokens,
                              bool round = false);

}  // namespace terse
