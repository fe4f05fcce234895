// Top-k by sorting everything: what selection is compared with.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "comm/bucket.h"

namespace terse::testing {

// Magnitude as an order that NaNs take part in.
inline uint32_t magnitude_bits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}

// All of `range`, largest magnitude first, equal ones by lowest index.
inline std::vector<int64_t> ranked(const std::vector<float>& x, Range range) {
  std::vector<int64_t> order(static_cast<size_t>(range.size()));
  std::iota(order.begin(), order.end(), range.begin);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return magnitude_bits(x[static_cast<size_t>(a)]) > magnitude_bits(x[static_cast<size_t>(b)]);
  });
  return order;
}

// The first k of `order`, without zeros, ascending.
inline std::vector<int64_t> first_of(const std::vector<float>& x, std::vector<int64_t> order,
                                     int64_t k) {
  order.resize(std::min(order.size(), static_cast<size_t>(k)));
  std::erase_if(order, [&](int64_t i) { return x[static_cast<size_t>(i)] == 0; });
  std::sort(order.begin(), order.end());
  return order;
}

inline std::vector<int64_t> largest(const std::vector<float>& x, Range range, int64_t k) {
  return first_of(x, ranked(x, range), k);
}

// Distributions that gradients resemble, and some that no sample can foresee.
enum class Shape {
  gauss,
  laplace,
  student,
  sparse,
  constant,
  ascending,
  rows,
  late,
  zero,
  awkward
};
inline constexpr Shape kAllShapes[] = {
    Shape::gauss,     Shape::laplace, Shape::student, Shape::sparse, Shape::constant,
    Shape::ascending, Shape::rows,    Shape::late,    Shape::zero,   Shape::awkward};

class Draws {
 public:
  explicit Draws(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  double uniform() {  // (0, 1)
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return (static_cast<double>(state_ >> 11) + 0.5) * 0x1p-53;
  }
  double gauss() {
    return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * 3.14159265358979 * uniform());
  }

 private:
  uint64_t state_;
};

inline float draw(Shape shape, int64_t i, int64_t n, Draws& draws) {
  const auto at = static_cast<float>(i + 1);
  switch (shape) {
    case Shape::gauss:
      return static_cast<float>(draws.gauss());
    case Shape::laplace: {
      const double u = draws.uniform() - 0.5;
      return static_cast<float>((u < 0 ? -1 : 1) * -std::log(1 - 2 * std::abs(u)));
    }
    case Shape::student: {  // two degrees of freedom
      const double z = draws.gauss();
      return static_cast<float>(z / std::sqrt(-std::log(draws.uniform())));
    }
    case Shape::sparse:
      return draws.uniform() < 0.01 ? static_cast<float>(draws.gauss()) : 0.0f;
    case Shape::constant:
      return i % 2 == 0 ? 0.25f : -0.25f;
    case Shape::ascending:
      return i % 2 == 0 ? at : -at;
    case Shape::rows:  // a few rows of an embedding
      return i / 640 % 97 == 3 ? static_cast<float>(draws.gauss()) : 0.0f;
    case Shape::late:  // all that matters in the last fiftieth
      return i > n - n / 50 ? 10.0f + static_cast<float>(draws.uniform())
                            : static_cast<float>(draws.uniform());
    case Shape::zero:
      return i % 2 == 0 ? 0.0f : -0.0f;
    case Shape::awkward: {
      const float some[] = {0.0f, -0.0f, 1e-42f, -1e-42f, 3e38f, -3e38f, 1.0f, -1e-20f};
      return some[i * 7 % 8];
    }
  }
  return 0;
}

inline std::vector<float> draw(Shape shape, int64_t n, uint64_t seed) {
  Draws draws(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) x[static_cast<size_t>(i)] = draw(shape, i, n, draws);
  return x;
}

}  // namespace terse::testing
