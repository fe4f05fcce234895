// Launchers of zero_one.cu. `stream` is a cudaStream_t.
#pragma once
#include <cstdint>

#include "optim/kernels/zero_one.h"

namespace terse::cuda {

void zero_one_message(const ZeroOneStep& step, const float* m, const float* u, const float* vhat,
                      const float* gradient, float* out, int64_t count, void* stream);
void zero_one_local(const ZeroOneStep& step, float* p, const float* anchor, float* m, float* u,
                    const float* vhat, const float* gradient, uint16_t* rounded, int64_t count,
                    void* stream);
void zero_one_meet(const ZeroOneStep& step, float* p, float* anchor, float* m, float* u,
                   const float* vhat, const float* answer, uint16_t* rounded, int64_t count,
                   void* stream);

}  // namespace terse::cuda
