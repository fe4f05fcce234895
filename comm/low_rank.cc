#include "comm/low_rank.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "base/checksum.h"
#include "comm/kernels/low_rank.h"

namespace terse {
namespace {

// splitmix64: a bijection that scatters its input.
uint64_t scatter(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Takes out of `row` what lies along the rows before it; its norm afterwards.
double project_out(float* pt, int64_t row, int64_t n) {
  float* x = pt + row * n;
  for (int64_t k = 0; k < row; ++k) {
    const double along = TERSE_DISPATCH(dot(pt + k * n, x, n));
    TERSE_DISPATCH(add_scaled(static_cast<float>(-along), pt + k * n, x, n));
  }
  return std::sqrt(TERSE_DISPATCH(dot(x, x, n)));
}

void normalise(float* x, int64_t n, double norm) {
  TERSE_DISPATCH(scale(static_cast<float>(1.0 / norm), x, n));
}

}  // namespace

void uniform_numbers(uint64_t seed, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = static_cast<int32_t>(scatter(seed + static_cast<uint64_t>(i)) >> 40);
    out[i] = static_cast<float>(2 * bits + 1 - (1 << 24)) * 0x1p-24f;
  }
}

uint64_t seed_of(const std::string& name, int64_t a, int64_t b) {
  const uint64_t h = checksum(std::as_bytes(std::span(name)));
  return scatter(h ^ scatter(static_cast<uint64_t>(a) ^ scatter(static_cast<uint64_t>(b))));
}

void orthonormalise(float* pt, int64_t rank, int64_t rows, uint64_t seed) {
  // Below this part of its former length a row is mostly rounding of fp32.
  constexpr double kLost = 1e-5;
  for (int64_t r = 0; r < rank; ++r) {
    float* x = pt + r * rows;
    double before = std::sqrt(TERSE_DISPATCH(dot(x, x, rows)));
    double norm = before > 0 ? project_out(pt, r, rows) : 0;
    for (uint64_t draw = 0; !(norm > kLost * before) && draw < 4; ++draw) {
      uniform_numbers(seed + static_cast<uint64_t>(r) * 1000003u + (draw << 32), rows, x);
      before = std::sqrt(TERSE_DISPATCH(dot(x, x, rows)));
      norm = project_out(pt, r, rows);
    }
    if (!(norm > kLost * before)) {  // more rows than dimensions
      TERSE_DISPATCH(scale(0.0f, x, rows));
      continue;
    }
    normalise(x, rows, norm);
    normalise(x, rows, project_out(pt, r, rows));
  }
}

void low_rank_product(const float* pt, const float* qt, int64_t rank, int64_t rows, int64_t columns,
                      float* out) {
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, columns));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    TERSE_DISPATCH(
        outer_rows(pt, qt, out + begin * columns, rank, rows, columns, begin, end - begin));
  });
}

}  // namespace terse
