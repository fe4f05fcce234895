#include "optim/kernels/sgd.h"

#include "optim/kernels/round_bf16.h"

namespace terse::TERSE_ISA {
namespace {

// Small enough that the bf16 copy finds the new weights in the first cache.
constexpr int64_t kStrip = 1024;

void momentum_strip(const SgdStep s, float* __restrict__ p, const float* __restrict__ gradient,
                    float* __restrict__ u, int64_t count) {
  const float then = s.nesterov ? 1.0f : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float g = s.scale * gradient[i] + s.decay * p[i];
    const float next = s.nesterov ? s.momentum * (u[i] + g) : s.momentum * u[i] + g;
    u[i] = next;
    p[i] -= s.learning_rate * (next + then * g);
  }
}

}  // namespace

void sgd_velocity(const SgdStep& step, const float* p, const float* gradient, const float* u,
                  float* next, float* out, int64_t count) {
  const SgdStep s = step;
  if (s.nesterov) {
    for (int64_t i = 0; i < count; ++i) {
      const float g = s.scale * gradient[i] + s.decay * p[i];
      const float v = s.momentum * (u[i] + g);
      next[i] = v;
      out[i] = v + g;
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float g = s.scale * gradient[i] + s.decay * p[i];
    const float v = s.momentum * u[i] + g;
    next[i] = v;
    out[i] = v;
  }
}

void sgd_apply(const SgdStep& step, float* p, const float* d, uint16_t* rounded, int64_t count) {
  for (int64_t i = 0; i < count; i += kStrip) {
    const int64_t n = count - i < kStrip ? count - i : kStrip;
    for (int64_t k = i; k < i + n; ++k) p[k] -= step.learning_rate * d[k];
    if (rounded != nullptr) round_bf16(p + i, rounded + i, n);
  }
}

void sgd_momentum(const SgdStep& step, float* p, const float* gradient, float* u, uint16_t* rounded,
                  int64_t count) {
  for (int64_t i = 0; i < count; i += kStrip) {
    const int64_t n = count - i < kStrip ? count - i : kStrip;
    momentum_strip(step, p + i, gradient + i, u + i, n);
    if (rounded != nullptr) round_bf16(p + i, rounded + i, n);
  }
}

}  // namespace terse::TERSE_ISA
