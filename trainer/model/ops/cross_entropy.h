// Cross entropy over a large vocabulary, forward and backward in one pass over each row:
//   loss[r] = log sum_j exp(logits[r, j]) - logits[r, target[r]].
#pragma once
#include <ATen/core/Tensor.h>

namespace terse {

// The mean over rows, a fp32 scalar (summed in fp64, in order). logits: [rows, vocab] in fp32 or
// bf16; targets: int64 [rows], in [0, vocab). On the CPU `logits` is CONSUMED when it needs a
// gradient: its memory becomes that gradient, so it must be a temporary that nobody else reads or
// saved (the output of a linear layer is one). Backward may run once.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

// Each row's loss in fp32 [rows], without gradient; logits stay as they are.
at::Tensor cross_entropy_each(const at::Tensor& logits, const at::Tensor& targets);

// The mean from ATen operations, on any device; consumes nothing.
at::Tensor composed_cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace terse
