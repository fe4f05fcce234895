// optim/kernels/adam.h on the GPU: device pointers, on torch's current stream. Without CUDA in the
// build no tensor is ever on such a device, and calling these is a bug.
#pragma once
#include <cstdint>

#include "optim/kernels/adam.h"

namespace terse {

void adamw_device(const AdamStep& step, float* p, float* m, float* v, const float* gradient,
                  uint16_t* rounded, int64_t count);
void onebit_message_device(float one_minus_beta1, float scale, const float* m, const float* vhat,
                           const float* gradient, float* out, int64_t count);
void onebit_apply_device(const AdamStep& step, float* p, float* m, const float* vhat,
                         const float* answer, uint16_t* rounded, int64_t count);

}  // namespace terse
