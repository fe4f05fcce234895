#include <cmath>

#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/vec16.h"

namespace terse::TERSE_ISA {
namespace {

template <typename T>
void forward_row(const float* x, const T* delta, const float* weight, float* total, T* y,
                 float* rstd, int64_t width, float eps) {
  F16 squares{};
  for_lanes(width, [&](int64_t i, int64_t lanes) TERSE_LANES {
    F16 v = load(x + i, lanes);
    if (delta != nullptr) {
      v += load(delta + i, lanes);
      store(total + i, v, lanes);
    }
    squares += v * v;
  });
  const float r = 1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + eps);
  *rstd = r;
  const float* source = delta != nullptr ? total : x;
  for_lanes(width, [&](int64_t i, int64_t lanes) TERSE_LANES {
    store(y + i, load(source + i, lanes) * r * load(weight + i, lanes), lanes);
  });
}

template <typename T>
void backward_row(const float* x, float r, const float* weight, const T* dy, const float* dsum,
                  float* dx, T* ddelta, float* dweight, int64_t width) {
  F16 product{};
  for_lanes(width, [&](int64_t i, int64_t lanes) TERSE_LANES {
    const F16 gradient = load(dy + i, lanes);
    const F16 normal = load(x + i, lanes) * r;
    product += gradient * load(weight + i, lanes) * normal;
    store(dweight + i, load(dweight + i, lanes) + gradient * normal, lanes);
  });
  const float mean = sum(product) / static_cast<float>(width);
  for_lanes(width, [&](int64_t i, int64_t lanes) TERSE_LANES {
    const F16 normal = load(x + i, lanes) * r;
    F16 d = (load(dy + i, lanes) * load(weight + i, lanes) - normal * mean) * r;
    if (dsum != nullptr) d += load(dsum + i, lanes);
    store(dx + i, d, lanes);
    if (ddelta != nullptr) store(ddelta + i, d, lanes);
  });
}

template <typename T>
void forward(const float* x, const T* delta, const float* weight, float* total, T* y, float* rstd,
             int64_t rows, int64_t width, float eps) {
  for (int64_t r = 0; r < rows; ++r)
    forward_row(x + r * width, delta == nullptr ? nullptr : delta + r * width, weight,
                delta == nullptr ? nullptr : total + r * width, y + r * width, rstd + r, width,
                eps);
}

template <typename T>
void backward(const float* x, const float* rstd, const float* weight, const T* dy,
              const float* dsum, float* dx, T* ddelta, float* dweight, int64_t rows,
              int64_t width) {
  for (int64_t r = 0; r < rows; ++r)
    backward_row(x + r * width, rstd[r], weight, dy + r * width,
                 dsum == nullptr ? nullptr : dsum + r * width, dx + r * width,
                 ddelta == nullptr ? nullptr : ddelta + r * width, dweight, width);
}

}  // namespace

#define TERSE_DEFINE(T)                                                                          \
  void add_norm_forward(const float* x, const T* delta, const float* weight, float* total, T* y, \
                        float* rstd, int64_t rows, int64_t width, float eps) {                   \
    forward<T>(x, delta, weight, total, y, rstd, rows, width, eps);                              \
  }                                                                                              \
  void add_norm_backward(const float* x, const float* rstd, const float* weight, const T* dy,    \
                         const float* dsum, float* dx, T* ddelta, float* dweight, int64_t rows,  \
                         int64_t width) {                                                        \
    backward<T>(x, rstd, weight, dy, dsum, dx, ddelta, dweight, rows, width);                    \
  }
TERSE_DEFINE(float)
TERSE_DEFINE(uint16_t)
#undef TERSE_DEFINE

}  // namespace terse::TERSE_ISA
