// Whole arrays through the dense kernels, on all OpenMP threads in fixed blocks: element-wise
// arithmetic, so that neither threads nor instruction set change a bit. Free of torch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace terse {

// out = bf16(in + residual); shadow = what was lost. `residual` and `shadow` may be null.
void to_bf16(const float* in, const float* residual, int64_t n, uint16_t* out, float* shadow);
void from_bf16(const uint16_t* in, int64_t n, float* out);
// out = in + residual (null: zero).
void add_rows(const float* in, const float* residual, int64_t n, float* out);
// out = factor * (rows[0] + rows[1] + ...) in this order in fp32; rows of n fp32 or bf16 elements.
void sum_rows(bool bf16, const std::vector<const std::byte*>& rows, int64_t n, float factor,
              float* out);

}  // namespace terse
