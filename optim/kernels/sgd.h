// The arithmetic of SGD with momentum and of Deep Gradient Compression on flat fp32 memory;
// torch-free. Elementwise, without fused multiply-add: the same bits for every instruction set.
// Pointers may not overlap except where said.
#pragma once
#include <cstdint>

#include "base/isa.h"

namespace terse {

// What is the same for all elements of one call. g = scale gradient + decay p.
struct SgdStep {
  float scale = 1;
  float decay = 0;
  float momentum = 0;
  float learning_rate = 0;
  bool nesterov = false;
};

#define TERSE_DECLARE_SGD(isa)                                                                     \
  namespace isa {                                                                                  \
  /* u' = momentum u + g, out = u'; Nesterov: u' = momentum (u + g), out = u' + g. `next` = u'.    \
     `out` may be `gradient`. Past the cache where aligned; without decay p is not read. */        \
  void sgd_velocity(const SgdStep& step, const float* p, const float* gradient, const float* u,    \
                    float* next, float* out, int64_t count);                                       \
  /* p <- p - learning_rate d; `rounded`: null, or receives p as bf16. */                          \
  void sgd_apply(const SgdStep& step, float* p, const float* d, uint16_t* rounded, int64_t count); \
  /* Both: u <- u', p <- p - learning_rate out. */                                                 \
  void sgd_momentum(const SgdStep& step, float* p, const float* gradient, float* u,                \
                    uint16_t* rounded, int64_t count);                                             \
  }
TERSE_DECLARE_SGD(scalar)
TERSE_DECLARE_SGD(avx2)
TERSE_DECLARE_SGD(avx512)
#undef TERSE_DECLARE_SGD

}  // namespace terse
