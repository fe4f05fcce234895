#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/vec16.h"

namespace terse::TERSE_ISA {
namespace {

TERSE_INLINE F16 sigmoid(F16 x) {
  return 1.0f / (1.0f + exp(-x));
}

template <typename T>
void forward(const T* gate_up, T* y, int64_t rows, int64_t hidden) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* gate = gate_up + r * 2 * hidden;
    const T* up = gate + hidden;
    for_lanes(hidden, [&](int64_t i, int64_t lanes) TERSE_LANES {
      const F16 g = load(gate + i, lanes);
      store(y + r * hidden + i, g * sigmoid(g) * load(up + i, lanes), lanes);
    });
  }
}

template <typename T>
void backward(const T* gate_up, const T* dy, T* dgate_up, int64_t rows, int64_t hidden) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* gate = gate_up + r * 2 * hidden;
    T* dgate = dgate_up + r * 2 * hidden;
    for_lanes(hidden, [&](int64_t i, int64_t lanes) TERSE_LANES {
      const F16 g = load(gate + i, lanes), up = load(gate + hidden + i, lanes);
      const F16 d = load(dy + r * hidden + i, lanes);
      const F16 s = sigmoid(g);
      store(dgate + hidden + i, d * g * s, lanes);
      store(dgate + i, d * up * s * (1.0f + g * (1.0f - s)), lanes);
    });
  }
}

}  // namespace

#define TERSE_DEFINE(T)                                                                            \
  void swiglu_forward(const T* gate_up, T* y, int64_t rows, int64_t hidden) {                      \
    forward<T>(gate_up, y, rows, hidden);                                                          \
  }                                                                                                \
  void swiglu_backward(const T* gate_up, const T* dy, T* dgate_up, int64_t rows, int64_t hidden) { \
    backward<T>(gate_up, dy, dgate_up, rows, hidden);                                              \
  }
TERSE_DEFINE(float)
TERSE_DEFINE(uint16_t)
#undef TERSE_DEFINE

}  // namespace terse::TERSE_ISA
