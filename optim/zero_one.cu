// CUDA twins of optim/kernels/zero_one.cc: one element a thread, grid-stride. __fmul_rn and its
// like keep the compiler from fusing multiply and add, so that the bits equal the CPU's.
#include <cuda_runtime.h>

#include "optim/adam_elements.cuh"
#include "optim/zero_one_launch.h"

namespace terse::cuda {
namespace {

__device__ float root_of(const ZeroOneStep& s, float vhat) {
  return vhat > 0.0f ? __fadd_rn(__fsqrt_rn(vhat), s.eps) : 1.0f;
}

__device__ float next_momentum(const ZeroOneStep& s, float m, float gradient) {
  return blend(m, s.one_minus_beta1, __fmul_rn(s.scale, gradient));
}

__device__ float next_sum(const ZeroOneStep& s, float u, float m) {
  return __fadd_rn(__fmul_rn(s.keep, u), __fmul_rn(s.step_size, m));
}

__device__ float moved_from(const ZeroOneStep& s, float anchor, float u, float vhat) {
  return __fsub_rn(__fmul_rn(s.kept, anchor), __fdiv_rn(u, root_of(s, vhat)));
}

__global__ void message_kernel(ZeroOneStep s, const float* m, const float* u, const float* vhat,
                               const float* gradient, float* out, int64_t count) {
  for (int64_t i = first(); i < count; i += stride())
    out[i] = vhat[i] > 0.0f ? next_sum(s, u[i], next_momentum(s, m[i], gradient[i])) : 0.0f;
}

__global__ void local_kernel(ZeroOneStep s, float* p, const float* anchor, float* m, float* u,
                             const float* vhat, const float* gradient, uint16_t* rounded,
                             int64_t count) {
  for (int64_t i = first(); i < count; i += stride()) {
    const float mi = vhat[i] > 0.0f ? next_momentum(s, m[i], gradient[i]) : 0.0f;
    const float ui = next_sum(s, u[i], mi);
    m[i] = mi;
    u[i] = ui;
    store(p, rounded, i, moved_from(s, anchor[i], ui, vhat[i]));
  }
}

__global__ void meet_kernel(ZeroOneStep s, float* p, float* anchor, float* m, float* u,
                            const float* vhat, const float* answer, uint16_t* rounded,
                            int64_t count) {
  for (int64_t i = first(); i < count; i += stride()) {
    const float a = vhat[i] > 0.0f ? answer[i] : 0.0f;
    m[i] = s.sum > 0.0f ? __fdiv_rn(a, s.sum) : 0.0f;
    u[i] = 0.0f;
    anchor[i] = moved_from(s, anchor[i], a, vhat[i]);
    store(p, rounded, i, anchor[i]);
  }
}

}  // namespace

void zero_one_message(const ZeroOneStep& step, const float* m, const float* u, const float* vhat,
                      const float* gradient, float* out, int64_t count, void* stream) {
  if (count == 0) return;
  message_kernel<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      step, m, u, vhat, gradient, out, count);
}

void zero_one_local(const ZeroOneStep& step, float* p, const float* anchor, float* m, float* u,
                    const float* vhat, const float* gradient, uint16_t* rounded, int64_t count,
                    void* stream) {
  if (count == 0) return;
  local_kernel<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      step, p, anchor, m, u, vhat, gradient, rounded, count);
}

void zero_one_meet(const ZeroOneStep& step, float* p, float* anchor, float* m, float* u,
                   const float* vhat, const float* answer, uint16_t* rounded, int64_t count,
                   void* stream) {
  if (count == 0) return;
  meet_kernel<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      step, p, anchor, m, u, vhat, answer, rounded, count);
}

}  // namespace terse::cuda
