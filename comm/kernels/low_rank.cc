#include "comm/kernels/low_rank.h"

namespace terse::TERSE_ISA {

double dot(const float* x, const float* y, int64_t n) {
  constexpr int64_t kLanes = 16;
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k)
      lane[k] += static_cast<double>(x[i + k]) * static_cast<double>(y[i + k]);
  for (int64_t k = 0; i < n; ++i, ++k)
    lane[k] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  double sum = 0;
  for (const double part : lane) sum += part;
  return sum;
}

void add_scaled(float a, const float* __restrict__ x, float* __restrict__ y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

void scale(float a, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= a;
}

void outer_rows(const float* __restrict__ p, const float* __restrict__ q, float* __restrict__ out,
                int64_t rank, int64_t rows, int64_t cols, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    float* __restrict__ row = out + i * cols;
    for (int64_t j = 0; j < cols; ++j) row[j] = 0.0f;
    for (int64_t k = 0; k < rank; ++k) {
      const float a = p[k * rows + first + i];
      const float* __restrict__ from = q + k * cols;
      for (int64_t j = 0; j < cols; ++j) row[j] += a * from[j];
    }
  }
}

}  // namespace terse::TERSE_ISA
