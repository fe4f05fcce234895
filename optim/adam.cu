// CUDA twins of optim/kernels/adam.cc: one element a thread, grid-stride. __fmul_rn and its like
// keep the compiler from fusing multiply and add, so that the bits equal the CPU's.
#include <cuda_runtime.h>

#include "optim/adam_elements.cuh"
#include "optim/adam_launch.h"

namespace terse::cuda {
namespace {

__device__ float moved(const AdamStep& s, float p, float m, float root) {
  return __fsub_rn(__fmul_rn(p, s.keep), __fdiv_rn(__fmul_rn(s.step_size, m), root));
}

__global__ void adamw_kernel(AdamStep s, float* p, float* m, float* v, const float* gradient,
                             uint16_t* rounded, int64_t count) {
  for (int64_t i = first(); i < count; i += stride()) {
    const float g = __fmul_rn(s.answer_scale, gradient[i]);
    const float mi = blend(m[i], s.one_minus_beta1, g);
    const float vi =
        __fadd_rn(__fmul_rn(s.beta2, v[i]), __fmul_rn(__fmul_rn(s.one_minus_beta2, g), g));
    m[i] = mi;
    v[i] = vi;
    const float root = __fadd_rn(__fdiv_rn(__fsqrt_rn(vi), s.root_correction2), s.eps);
    store(p, rounded, i, moved(s, p[i], mi, root));
  }
}

__global__ void message_kernel(float one_minus_beta1, float scale, const float* m,
                               const float* vhat, const float* gradient, float* out,
                               int64_t count) {
  for (int64_t i = first(); i < count; i += stride())
    out[i] = vhat == nullptr || vhat[i] > 0.0f
                 ? blend(m[i], one_minus_beta1, __fmul_rn(scale, gradient[i]))
                 : 0.0f;
}

__global__ void apply_kernel(AdamStep s, float* p, float* m, const float* vhat, const float* answer,
                             uint16_t* rounded, int64_t count) {
  for (int64_t i = first(); i < count; i += stride()) {
    const float mi = vhat[i] > 0.0f ? answer[i] : 0.0f;
    m[i] = mi;
    store(p, rounded, i, moved(s, p[i], mi, __fadd_rn(__fsqrt_rn(vhat[i]), s.eps)));
  }
}

}  // namespace

void adamw(const AdamStep& step, float* p, float* m, float* v, const float* gradient,
           uint16_t* rounded, int64_t count, void* stream) {
  if (count == 0) return;
  adamw_kernel<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      step, p, m, v, gradient, rounded, count);
}

void onebit_message(float one_minus_beta1, float scale, const float* m, const float* vhat,
                    const float* gradient, float* out, int64_t count, void* stream) {
  if (count == 0) return;
  message_kernel<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      one_minus_beta1, scale, m, vhat, gradient, out, count);
}

void onebit_apply(const AdamStep& step, float* p, float* m, const float* vhat, const float* answer,
                  uint16_t* rounded, int64_t count, void* stream) {
  if (count == 0) return;
  apply_kernel<<<blocks_for(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      step, p, m, vhat, answer, rounded, count);
}

}  // namespace terse::cuda
