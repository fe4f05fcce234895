#include "comm/codec/dense_device.h"

#include <algorithm>

#include "comm/codec/dense_launch.h"
#include "comm/codec/device_memory.h"

namespace terse {

void to_bf16_device(const float* in, int64_t n, uint16_t* out, void* stream) {
  cuda::check(cuda::bf16_encode(in, n, out, stream), "rounding to bf16");
}

void from_bf16_device(const uint16_t* in, int64_t n, float* out, void* stream) {
  cuda::check(cuda::bf16_decode(in, n, out, stream), "widening bf16");
}

void sum_rows_device(bool bf16, const std::vector<const std::byte*>& rows, int64_t n, float factor,
                     float* out, void* stream) {
  const auto total = static_cast<int64_t>(rows.size());
  for (int64_t first = 0; first < total; first += cuda::kMostRows) {
    const int64_t count = std::min(cuda::kMostRows, total - first);
    cuda::Rows some{};
    std::copy_n(rows.begin() + first, count, some.at);
    const bool last = first + count == total;
    cuda::check(cuda::sum_rows(bf16, some, count, n, first > 0, last ? factor : 1.0f, out, stream),
                "summing ranks");
  }
}

}  // namespace terse
