// swiglu_forward and swiglu_backward of ops/kernels.h in the instructions of base/product.h, where
// product_available(): two to three times faster, with sigmoid to a relative 2^-17, and so results
// that may differ in the last place of the bf16. Rows are `hidden` or 2 `hidden` values; hidden: a
// multiple of 32. Free of torch.
#pragma once
#include <cstdint>

namespace terse {

void swiglu_forward_bf16(const uint16_t* gate_up, uint16_t* y, int64_t rows, int64_t hidden);
void swiglu_backward_bf16(const uint16_t* gate_up, const uint16_t* dy, uint16_t* dgate_up,
                          int64_t rows, int64_t hidden);

}  // namespace terse
