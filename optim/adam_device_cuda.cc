#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "optim/adam_device.h"
#include "optim/adam_launch.h"

namespace terse {
namespace {
void* stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}
}  // namespace

void adamw_device(const AdamStep& step, float* p, float* m, float* v, const float* gradient,
                  uint16_t* rounded, int64_t count) {
  cuda::adamw(step, p, m, v, gradient, rounded, count, stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void onebit_message_device(float one_minus_beta1, float scale, const float* m, const float* vhat,
                           const float* gradient, float* out, int64_t count) {
  cuda::onebit_message(one_minus_beta1, scale, m, vhat, gradient, out, count, stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void onebit_apply_device(const AdamStep& step, float* p, float* m, const float* vhat,
                         const float* answer, uint16_t* rounded, int64_t count) {
  cuda::onebit_apply(step, p, m, vhat, answer, rounded, count, stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace terse
