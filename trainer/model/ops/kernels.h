// The raw-pointer kernels behind ops/*.h, once per instruction set (base/isa.h, TERSE_DISPATCH). T
// is float or uint16_t (the bits of a bf16). Statistics are fp32; results have equal bits on every
// instruction set. Each call is single-threaded and works on whole rows: callers split rows over
// threads. Free of torch.
#pragma once
#include <cstdint>

#include "base/isa.h"

namespace terse {

// One row per query of one head: `position` is the number of the query in its sequence.
struct SoftmaxRows {
  int64_t first;  // row r has position (first + r) % queries
  int64_t count;
  int64_t queries;
  int64_t keys;
  float scale;  // scores are multiplied by it before the softmax
  bool causal;  // a query sees keys 0 .. position
};

}  // namespace terse

#define TERSE_MODEL_KERNELS_OF(isa_namespace, T)                                                  \
  namespace terse::isa_namespace {                                                                \
  /* sum = x + delta; y = sum rstd weight, rstd = 1 / sqrt(mean(sum^2) + eps). delta may be null  \
     (then sum may be null too). */                                                               \
  void add_norm_forward(const float* x, const T* delta, const float* weight, float* sum, T* y,    \
                        float* rstd, int64_t rows, int64_t width, float eps);                     \
  /* dx = dsum (may be null) + d norm; ddelta (may be null) = dx rounded; dweight is added to. */ \
  void add_norm_backward(const float* sum, const float* rstd, const float* weight, const T* dy,   \
                         const float* dsum, float* dx, T* ddelta, float* dweight, int64_t rows,   \
                         int64_t width);                                                          \
  /* One head vector: (a, b) halves -> (a cos - b sin, b cos + a sin); direction -1 undoes it. */ \
  void rotate_head(const T* in, const float* cosine, const float* sine, T* out, int64_t half,     \
                   float direction);                                                              \
  /* In place: scores -> probabilities, zero where masked. */                                     \
  void softmax_forward(T* scores, const SoftmaxRows& rows);                                       \
  /* In place: dp -> d scores = scale p (dp - sum(p dp)). */                                      \
  void softmax_backward(const T* p, T* dp, const SoftmaxRows& rows);                              \
  /* Rows of gate_up are (gate, up), each `hidden` long: y = gate sigmoid(gate) up. */            \
  void swiglu_forward(const T* gate_up, T* y, int64_t rows, int64_t hidden);                      \
  void swiglu_backward(const T* gate_up, const T* dy, T* dgate_up, int64_t rows, int64_t hidden); \
  /* loss[r] = log sum exp(logits[r]) - logits[r, target[r]]. With `gradient_scale` != 0 the      \
     logits become gradient_scale (softmax - onehot). */                                          \
  void cross_entropy_rows(T* logits, const int64_t* targets, float* loss, int64_t rows,           \
                          int64_t vocab, float gradient_scale);                                   \
  void scale_values(T* values, int64_t n, float factor);                                          \
  }

#define TERSE_MODEL_KERNELS(isa_namespace)     \
  TERSE_MODEL_KERNELS_OF(isa_namespace, float) \
  TERSE_MODEL_KERNELS_OF(isa_namespace, uint16_t)

TERSE_MODEL_KERNELS(scalar)
TERSE_MODEL_KERNELS(avx2)
TERSE_MODEL_KERNELS(avx512)

#undef TERSE_MODEL_KERNELS
#undef TERSE_MODEL_KERNELS_OF
