#include "trainer/model/ops/swiglu_bf16.h"
#include "trainer/model/ops/vectors_bf16.h"

namespace terse {
namespace TERSE_ISA {
namespace {

// The quotient by rcp14 and a step of Newton's method; far out it is 2^-126 or 1. NaN stays NaN.
TERSE_BF16_INLINE __m512 sigmoid(__m512 x) {
  const __m512 exponent = _mm512_mul_ps(x, _mm512_set1_ps(-kLog2E));
  const __m512 e = exp2(_mm512_min_ps(_mm512_set1_ps(126.0f), exponent));
  const __m512 sum = _mm512_add_ps(e, _mm512_set1_ps(1.0f));
  const __m512 guess = _mm512_rcp14_ps(sum);
  return _mm512_mul_ps(guess, _mm512_fnmadd_ps(sum, guess, _mm512_set1_ps(2.0f)));
}

struct Gradients {
  __m512 gate, up;
};
TERSE_BF16_INLINE Gradients gradients(__m512 gate, __m512 up, __m512 dy) {
  const __m512 s = sigmoid(gate), one = _mm512_set1_ps(1.0f);
  const __m512 slope = _mm512_fmadd_ps(gate, _mm512_sub_ps(one, s), one);
  const __m512 ds = _mm512_mul_ps(dy, s);
  return {_mm512_mul_ps(_mm512_mul_ps(ds, up), slope), _mm512_mul_ps(ds, gate)};
}

}  // namespace
}  // namespace TERSE_ISA

using namespace TERSE_ISA;

void swiglu_forward_bf16(const uint16_t* gate_up, uint16_t* y, int64_t rows, int64_t hidden) {
  const auto value = [](const uint16_t* gate, const uint16_t* up) __attribute__((always_inline)) {
    const __m512 g = load_bf16(gate);
    return _mm512_mul_ps(_mm512_mul_ps(g, sigmoid(g)), load_bf16(up));
  };
  for (int64_t r = 0; r < rows; ++r) {
    const uint16_t* gate = gate_up + r * 2 * hidden;
    const uint16_t* up = gate + hidden;
    for (int64_t i = 0; i < hidden; i += 32)
      store_bf16(y + r * hidden + i, value(gate + i, up + i), value(gate + i + 16, up + i + 16));
  }
}

void swiglu_backward_bf16(const uint16_t* gate_up, const uint16_t* dy, uint16_t* dgate_up,
                          int64_t rows, int64_t hidden) {
  for (int64_t r = 0; r < rows; ++r) {
    const uint16_t* gate = gate_up + r * 2 * hidden;
    const uint16_t* up = gate + hidden;
    uint16_t* to = dgate_up + r * 2 * hidden;
    for (int64_t i = 0; i < hidden; i += 32) {
      const uint16_t* d = dy + r * hidden + i;
      const Gradients low = gradients(load_bf16(gate + i), load_bf16(up + i), load_bf16(d));
      const Gradients high =
          gradients(load_bf16(gate + i + 16), load_bf16(up + i + 16), load_bf16(d + 16));
      store_bf16(to + i, low.gate, high.gate);
      store_bf16(to + hidden + i, low.up, high.up);
    }
  }
}

}  // namespace terse
