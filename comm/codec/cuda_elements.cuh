// What kernels read of a bucket on the device. `Bucket` has message, residual and live as
// EncodeInput; additions are rounded as on the CPU.
#pragma once
#include <cstdint>

namespace terse::cuda {

template <typename Bucket>
static __device__ inline bool is_live(const Bucket& b, int64_t i) {
  return b.live == nullptr || (b.live[i / 64] >> (i % 64) & 1) != 0;
}

template <typename Bucket>
static __device__ inline float element(const Bucket& b, int64_t i) {
  return b.residual == nullptr ? b.message[i] : __fadd_rn(b.message[i], b.residual[i]);
}

}  // namespace terse::cuda
