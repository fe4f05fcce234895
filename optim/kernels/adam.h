// The arithmetic of AdamW and 1-bit Adam on flat fp32 memory; torch-free.
//
// Elementwise, without fused multiply-add and with correctly rounded square roots and divisions:
// the same bits for every instruction set. Memory-bound: AdamW reads 16 and writes 12 bytes an
// element. Pointers may not overlap except where said; no alignment is needed.
#pragma once
#include <cstdint>

namespace terse {

// What is the same for all elements of one call.
struct AdamStep {
  float answer_scale = 1;     // multiplies the averaged gradient: dense clipping
  float one_minus_beta1 = 0;  // of m <- m + (1 - beta1) (g - m)
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float keep = 1;              // 1 - lr weight_decay, or 1 for elements that do not decay
  float step_size = 0;         // lr / (1 - beta1^t)
  float root_correction2 = 1;  // sqrt(1 - beta2^t)
  float eps = 0;
};

#define TERSE_DECLARE_ADAM(isa)                                                                 \
  namespace isa {                                                                               \
  /* torch.optim.AdamW: m <- m + (1 - beta1)(g - m); v <- beta2 v + (1 - beta2) g g;            \
     p <- keep p - step_size m / (sqrt(v) / root_correction2 + eps), g = answer_scale gradient. \
     `rounded`: null, or receives p as bf16. */                                                 \
  void adamw(const AdamStep& step, float* p, float* m, float* v, const float* gradient,         \
             uint16_t* rounded, int64_t count);                                                 \
  /* out <- m + (1 - beta1)(scale gradient - m) where vhat > 0, else 0. vhat null: all are > 0; \
     it need not be read. */                                                                    \
  void onebit_message(float one_minus_beta1, float scale, const float* m, const float* vhat,    \
                      const float* gradient, float* out, int64_t count);                        \
  /* m <- answer where vhat > 0, else 0; p <- keep p - step_size m / (sqrt(vhat) + eps).        \
     answer null: m is the answer already and all vhat > 0. */                                  \
  void onebit_apply(const AdamStep& step, float* p, float* m, const float* vhat,                \
                    const float* answer, uint16_t* rounded, int64_t count);                     \
  }
TERSE_DECLARE_ADAM(scalar)
TERSE_DECLARE_ADAM(avx2)
TERSE_DECLARE_ADAM(avx512)
#undef TERSE_DECLARE_ADAM

}  // namespace terse
