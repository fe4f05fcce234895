#include "optim/kernels/adam.h"

#include <cmath>

#include "optim/kernels/round_bf16.h"

namespace terse::TERSE_ISA {
namespace {

// Small enough that the bf16 copy finds the new weights in the first cache.
constexpr int64_t kStrip = 1024;

void adamw_strip(const AdamStep s, float* __restrict__ p, float* __restrict__ m,
                 float* __restrict__ v, const float* __restrict__ gradient, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = s.answer_scale * gradient[i];
    m[i] = m[i] + s.one_minus_beta1 * (g - m[i]);
    v[i] = s.beta2 * v[i] + s.one_minus_beta2 * g * g;
    const float root = std::sqrt(v[i]) / s.root_correction2 + s.eps;
    p[i] = p[i] * s.keep - s.step_size * m[i] / root;
  }
}

void move_strip(const AdamStep s, float* __restrict__ p, const float* __restrict__ m,
                const float* __restrict__ vhat, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    p[i] = p[i] * s.keep - s.step_size * m[i] / (std::sqrt(vhat[i]) + s.eps);
}

void take_strip(float* __restrict__ m, const float* __restrict__ vhat,
                const float* __restrict__ answer, int64_t count) {
  for (int64_t i = 0; i < count; ++i) m[i] = vhat[i] > 0.0f ? answer[i] : 0.0f;
}

}  // namespace

void adamw(const AdamStep& step, float* p, float* m, float* v, const float* gradient,
           uint16_t* rounded, int64_t count) {
  for (int64_t i = 0; i < count; i += kStrip) {
    const int64_t n = count - i < kStrip ? count - i : kStrip;
    adamw_strip(step, p + i, m + i, v + i, gradient + i, n);
    if (rounded != nullptr) round_bf16(p + i, rounded + i, n);
  }
}

void onebit_message(float one_minus_beta1, float scale, const float* __restrict__ m,
                    const float* __restrict__ vhat, const float* __restrict__ gradient,
                    float* __restrict__ out, int64_t count) {
  if (vhat == nullptr) {
    for (int64_t i = 0; i < count; ++i)
      out[i] = m[i] + one_minus_beta1 * (scale * gradient[i] - m[i]);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float x = m[i] + one_minus_beta1 * (scale * gradient[i] - m[i]);
    out[i] = vhat[i] > 0.0f ? x : 0.0f;
  }
}

void onebit_apply(const AdamStep& step, float* p, float* m, const float* vhat, const float* answer,
                  uint16_t* rounded, int64_t count) {
  for (int64_t i = 0; i < count; i += kStrip) {
    const int64_t n = count - i < kStrip ? count - i : kStrip;
    if (answer != nullptr) take_strip(m + i, vhat + i, answer + i, n);
    move_strip(step, p + i, m + i, vhat + i, n);
    if (rounded != nullptr) round_bf16(p + i, rounded + i, n);
  }
}

}  // namespace terse::TERSE_ISA
