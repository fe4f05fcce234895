// Inputs and results of the row kernels, for their tests on every instruction set and on GPUs.
#pragma once
#include <cstring>
#include <random>
#include <vector>

#include "qat/quantize.h"

namespace terse {

inline std::vector<float> normal(int64_t n, unsigned seed, float sigma = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0.0f, sigma);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = draw(random);
  return x;
}

struct Result {
  std::vector<int8_t> codes;
  std::vector<float> scales, f32;
  std::vector<uint16_t> bf16;
  std::vector<uint8_t> mask;
};

inline Result quantized(const Grid& grid, const Estimator& estimator, const RowsIn& in) {
  const int64_t group = grid.format.group == 0 ? in.columns : grid.format.group;
  const size_t all = static_cast<size_t>(in.rows * in.columns);
  Result r;
  r.codes.resize(all);
  r.f32.resize(all);
  r.bf16.resize(all);
  r.scales.resize(static_cast<size_t>(in.rows * (in.columns / std::max<int64_t>(group, 1))));
  r.mask.resize(static_cast<size_t>(in.rows * mask_stride(in.columns)));
  quantize_rows(grid, estimator, in,
                {.codes = r.codes.data(),
                 .scales = r.scales.data(),
                 .f32 = r.f32.data(),
                 .bf16 = r.bf16.data(),
                 .mask = r.mask.data()});
  return r;
}

template <typename T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

struct Shape {
  int64_t rows, columns, group, hadamard;
};
inline constexpr Shape kShapes[] = {{3, 256, 0, 128}, {2, 256, 32, 0},  {5, 37, 0, 0},
                                    {1, 1, 0, 0},     {4, 24, 12, 8},   {2, 15, 5, 0},
                                    {3, 96, 0, 32},   {0, 128, 0, 128}, {2, 512, 64, 64},
                                    {1, 1000, 0, 8},  {2, 512, 0, 256}};

inline std::vector<Grid> grids(const Shape& shape) {
  std::vector<Grid> all;
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    all.push_back(mse_grid("half_int", 4, shape.group, type, shape.hadamard));
    all.push_back(mse_grid("int_signed", 3, shape.group, type, shape.hadamard));
    all.push_back(mse_grid("half_int", 1, shape.group, type, shape.hadamard));
    all.push_back(mse_grid("int_symmetric", 8, shape.group, type, shape.hadamard));
  }
  for (Grid grid : {q4_0_grid(), q8_0_grid()}) {
    grid.format.group = shape.group;
    all.push_back(grid);
  }
  return all;
}

}  // namespace terse
