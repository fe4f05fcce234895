#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "optim/zero_one_device.h"
#include "optim/zero_one_launch.h"

namespace terse {
namespace {
void* stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}
}  // namespace

void zero_one_message_device(const ZeroOneStep& step, const float* m, const float* u,
                             const float* vhat, const float* gradient, float* out, int64_t count) {
  cuda::zero_one_message(step, m, u, vhat, gradient, out, count, stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void zero_one_local_device(const ZeroOneStep& step, float* p, const float* anchor, float* m,
                           float* u, const float* vhat, const float* gradient, uint16_t* rounded,
                           int64_t count) {
  cuda::zero_one_local(step, p, anchor, m, u, vhat, gradient, rounded, count, stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void zero_one_meet_device(const ZeroOneStep& step, float* p, float* anchor, float* m, float* u,
                          const float* vhat, const float* answer, uint16_t* rounded,
                          int64_t count) {
  cuda::zero_one_meet(step, p, anchor, m, u, vhat, answer, rounded, count, stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace terse
