// comm/codec/dense_arrays.h on a GPU: device memory, queued on `stream` (a cudaStream_t), the same
// bits. Without CUDA in the build no tensor is ever on such a device, and calling these is a bug.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace terse {

void to_bf16_device(const float* in, int64_t n, uint16_t* out, void* stream);
void from_bf16_device(const uint16_t* in, int64_t n, float* out, void* stream);
void sum_rows_device(bool bf16, const std::vector<const std::byte*>& rows, int64_t n, float factor,
                     float* out, void* stream);

}  // namespace terse
