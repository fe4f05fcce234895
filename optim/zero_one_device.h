// optim/kernels/zero_one.h on the GPU: device pointers, on torch's current stream. Without CUDA in
// the build no tensor is ever on such a device, and calling these is a bug.
#pragma once
#include <cstdint>

#include "optim/kernels/zero_one.h"

namespace terse {

void zero_one_message_device(const ZeroOneStep& step, const float* m, const float* u,
                             const float* vhat, const float* gradient, float* out, int64_t count);
void zero_one_local_device(const ZeroOneStep& step, float* p, const float* anchor, float* m,
                           float* u, const float* vhat, const float* gradient, uint16_t* rounded,
                           int64_t count);
void zero_one_meet_device(const ZeroOneStep& step, float* p, float* anchor, float* m, float* u,
                          const float* vhat, const float* answer, uint16_t* rounded, int64_t count);

}  // namespace terse
