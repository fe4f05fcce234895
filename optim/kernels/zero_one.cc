#include "optim/kernels/zero_one.h"

#include <cmath>

#include "optim/kernels/round_bf16.h"

namespace terse::TERSE_ISA {
namespace {

// Small enough that the bf16 copy finds the new weights in the first cache.
constexpr int64_t kStrip = 1024;

// Of a dead coordinate the quotient is never used; the 1 keeps it finite.
float root_of(const ZeroOneStep& s, float vhat) {
  return vhat > 0.0f ? std::sqrt(vhat) + s.eps : 1.0f;
}

void local_strip(const ZeroOneStep s, float* __restrict__ p, const float* __restrict__ anchor,
                 float* __restrict__ m, float* __restrict__ u, const float* __restrict__ vhat,
                 const float* __restrict__ gradient, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float next = m[i] + s.one_minus_beta1 * (s.scale * gradient[i] - m[i]);
    m[i] = vhat[i] > 0.0f ? next : 0.0f;
    u[i] = s.keep * u[i] + s.step_size * m[i];
    p[i] = s.kept * anchor[i] - u[i] / root_of(s, vhat[i]);
  }
}

void meet_strip(const ZeroOneStep s, float* __restrict__ p, float* __restrict__ anchor,
                float* __restrict__ m, float* __restrict__ u, const float* __restrict__ vhat,
                const float* __restrict__ answer, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float a = vhat[i] > 0.0f ? answer[i] : 0.0f;
    m[i] = s.sum > 0.0f ? a / s.sum : 0.0f;
    u[i] = 0.0f;
    anchor[i] = s.kept * anchor[i] - a / root_of(s, vhat[i]);
    p[i] = anchor[i];
  }
}

}  // namespace

void zero_one_message(const ZeroOneStep& step, const float* __restrict__ m,
                      const float* __restrict__ u, const float* __restrict__ vhat,
                      const float* __restrict__ gradient, float* __restrict__ out, int64_t count) {
  const ZeroOneStep s = step;
  for (int64_t i = 0; i < count; ++i) {
    const float next = m[i] + s.one_minus_beta1 * (s.scale * gradient[i] - m[i]);
    const float sum = s.keep * u[i] + s.step_size * next;
    out[i] = vhat[i] > 0.0f ? sum : 0.0f;
  }
}

void zero_one_local(const ZeroOneStep& step, float* p, const float* anchor, float* m, float* u,
                    const float* vhat, const float* gradient, uint16_t* rounded, int64_t count) {
  for (int64_t i = 0; i < count; i += kStrip) {
    const int64_t n = count - i < kStrip ? count - i : kStrip;
    local_strip(step, p + i, anchor + i, m + i, u + i, vhat + i, gradient + i, n);
    if (rounded != nullptr) round_bf16(p + i, rounded + i, n);
  }
}

void zero_one_meet(const ZeroOneStep& step, float* p, float* anchor, float* m, float* u,
                   const float* vhat, const float* answer, uint16_t* rounded, int64_t count) {
  for (int64_t i = 0; i < count; i += kStrip) {
    const int64_t n = count - i < kStrip ? count - i : kStrip;
    meet_strip(step, p + i, anchor + i, m + i, u + i, vhat + i, answer + i, n);
    if (rounded != nullptr) round_bf16(p + i, rounded + i, n);
  }
}

}  // namespace terse::TERSE_ISA
