// cross_entropy_rows of ops/kernels.h with a gradient, in the instructions of base/product.h, where
// product_available(): exponentials to a relative 2^-18, far finer than the bf16 gradients; the
// loss is off by as little. vocab: a multiple of 32, at most kMostBf16Vocabulary. Free of torch.
#pragma once
#include <cstdint>

namespace terse {

constexpr int64_t kMostBf16Vocabulary = 8192;

void cross_entropy_bf16(uint16_t* logits, const int64_t* targets, float* loss, int64_t rows,
                        int64_t vocab, float scale);

}  // namespace terse
