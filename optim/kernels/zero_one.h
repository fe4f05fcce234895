// The arithmetic of 0/1 Adam's local steps on flat fp32 memory; torch-free. Elementwise, without
// fused multiply-add and with correctly rounded square roots and divisions: the same bits for every
// instruction set. Memory-bound. Pointers may not overlap.
#pragma once
#include <cstdint>

namespace terse {

// What is the same for all elements of one call. Coordinates with vhat = 0 are dead: no momentum,
// no u, no update but decay.
struct ZeroOneStep {
  float one_minus_beta1 = 0;
  float scale = 1;      // of the gradient: clipping
  float keep = 1;       // of u: 1 - lr weight_decay of this step, or 1
  float step_size = 0;  // lr / (1 - beta1^t)
  float kept = 1;       // of the anchor: product of `keep` since the last meeting, this step's too
  float sum = 1;        // of step sizes since then, each decayed as u is
  float eps = 0;
};

#define TERSE_DECLARE_ZERO_ONE(isa)                                                                \
  namespace isa {                                                                                  \
  /* out <- keep u + step_size (m + (1 - beta1)(scale gradient - m)) */                            \
  void zero_one_message(const ZeroOneStep& step, const float* m, const float* u,                   \
                        const float* vhat, const float* gradient, float* out, int64_t count);      \
  /* m <- m + (1 - beta1)(scale gradient - m); u <- keep u + step_size m;                          \
     p <- kept anchor - u / (sqrt(vhat) + eps). `rounded`: null, or receives p as bf16. */         \
  void zero_one_local(const ZeroOneStep& step, float* p, const float* anchor, float* m, float* u,  \
                      const float* vhat, const float* gradient, uint16_t* rounded, int64_t count); \
  /* m <- answer / sum; p, anchor <- kept anchor - answer / (sqrt(vhat) + eps); u <- 0. */         \
  void zero_one_meet(const ZeroOneStep& step, float* p, float* anchor, float* m, float* u,         \
                     const float* vhat, const float* answer, uint16_t* rounded, int64_t count);    \
  }
TERSE_DECLARE_ZERO_ONE(scalar)
TERSE_DECLARE_ZERO_ONE(avx2)
TERSE_DECLARE_ZERO_ONE(avx512)
#undef TERSE_DECLARE_ZERO_ONE

}  // namespace terse
