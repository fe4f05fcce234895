// Launchers of adam.cu. `stream` is a cudaStream_t.
#pragma once
#include <cstdint>

#include "optim/kernels/adam.h"

namespace terse::cuda {

void adamw(const AdamStep& step, float* p, float* m, float* v, const float* gradient,
           uint16_t* rounded, int64_t count, void* stream);
void onebit_message(float one_minus_beta1, float scale, const float* m, const float* vhat,
                    const float* gradient, float* out, int64_t count, void* stream);
void onebit_apply(const AdamStep& step, float* p, float* m, const float* vhat, const float* answer,
                  uint16_t* rounded, int64_t count, void* stream);

}  // namespace terse::cuda
