#include "comm/low_rank.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "base/checksum.h"
#include "base/error.h"
#include "comm/kernels/low_rank.h"
#include "comm/shared_random.h"

namespace terse {
namespace {

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

void resize_factor(std::span<const float> from, int64_t columns, uint64_t seed,
                   std::span<float> to) {
  const size_t kept = std::min(from.size(), to.size());
  TERSE_CHECK(columns > 0 && static_cast<int64_t>(to.size()) % columns == 0 &&
                  static_cast<int64_t>(from.size()) % columns == 0,
              "{} and {} elements in {} columns", from.size(), to.size(), columns);
  std::copy_n(from.begin(), kept, to.begin());
  for (size_t k = kept; k < to.size(); ++k) to[k] = shared_uniform(seed, k);
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
      resize_factor({}, rows, seed + static_cast<uint64_t>(r) * 1000003u + (draw << 32),
                    {x, static_cast<size_t>(rows)});
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
