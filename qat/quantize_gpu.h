// CUDA twins of qat/quantize.h: the same arithmetic in the same order, so the same bits. Pointers
// are device memory; launches are asynchronous on `stream` (a cudaStream_t). In builds without CUDA
// each throws Error(usage).
#pragma once
#include <ATen/core/Tensor.h>

#include "qat/plan.h"
#include "qat/quantize.h"

namespace terse::gpu {

void* stream_of(const at::Tensor& t);  // the current stream of its device

void quantize_rows(const Quantizer& quantizer, const RowsIn& in, const RowsOut& out, void* stream);
void row_statistics(const Grid& grid, const RowsIn& in, float* statistics, void* stream);
void decode_rows(const CodedRows& in, float* f32, uint16_t* bf16, void* stream);
void rotate_rows(const RowsIn& in, const uint8_t* mask, int64_t hadamard, float* f32,
                 uint16_t* bf16, void* stream);

}  // namespace terse::gpu
