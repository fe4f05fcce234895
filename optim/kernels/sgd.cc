#include "optim/kernels/sgd.h"

#include "comm/codec/kernels/words.h"
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

constexpr int64_t kAhead = 4096;  // elements fetched in advance, as by the codecs

template <bool kDecay, bool kNesterov>
void velocity(const SgdStep& s, const float* p, const float* gradient, const float* u, float* next,
              float* out, int64_t count) {
  const F16 scale = broadcast(s.scale), decay = broadcast(s.decay), mu = broadcast(s.momentum);
  const bool past_cache = aligned(next) && aligned(out) && out != gradient;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __builtin_prefetch(gradient + i + kAhead);
    __builtin_prefetch(u + i + kAhead);
    F16 g = mul(scale, load(gradient + i));
    if constexpr (kDecay) g = add(g, mul(decay, load(p + i)));
    const F16 v = kNesterov ? mul(mu, add(load(u + i), g)) : add(mul(mu, load(u + i)), g);
    const F16 message = kNesterov ? add(v, g) : v;
    if (past_cache) {
      stream(next + i, v);
      stream(out + i, message);
    } else {
      store(next + i, v);
      store(out + i, message);
    }
  }
  for (; i < count; ++i) {
    float g = s.scale * gradient[i];
    if constexpr (kDecay) g += s.decay * p[i];
    const float v = kNesterov ? s.momentum * (u[i] + g) : s.momentum * u[i] + g;
    next[i] = v;
    out[i] = kNesterov ? v + g : v;
  }
  stream_fence();
}

}  // namespace

void sgd_velocity(const SgdStep& step, const float* p, const float* gradient, const float* u,
                  float* next, float* out, int64_t count) {
  if (step.decay != 0)
    return step.nesterov ? velocity<true, true>(step, p, gradient, u, next, out, count)
                         : velocity<true, false>(step, p, gradient, u, next, out, count);
  return step.nesterov ? velocity<false, true>(step, p, gradient, u, next, out, count)
                       : velocity<false, false>(step, p, gradient, u, next, out, count);
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
