// Inputs and results of the row kernels, for their tests on every instruction set and on GPUs.
#pragma once
#include <cstring>
#include <random>
#include <vector>

#include "qat/quantize.h"

namespace terse {

inline std::vector<float> normal(int64_t n, unsigned seed, float sigma = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;  // scaled below: sigma may be 0
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = draw(random) * sigma;
  return x;
}

struct Result {
  std::vector<int8_t> codes;
  std::vector<float> scales, f32;
  std::vector<uint16_t> bf16;
  std::vector<uint8_t> mask;
  float tensor_scale = 1.0f;
};

inline Result quantized(const Grid& grid, const Estimator& estimator, const RowsIn& in) {
  const size_t all = static_cast<size_t>(in.rows * in.columns);
  const int64_t groups = in.columns == 0 ? 1 : groups_of(grid.format, in.columns);
  Result r;
  r.tensor_scale = grid.second;
  r.codes.resize(all);
  r.f32.resize(all);
  r.bf16.resize(all);
  r.scales.resize(grid.format.group < 0 ? 1 : static_cast<size_t>(in.rows * groups));
  r.mask.resize(static_cast<size_t>(in.rows * mask_stride(in.columns)));
  if (shares_scale(grid)) {
    std::vector<float> statistics(static_cast<size_t>(in.rows));
    row_statistics(grid, in, statistics.data());
    const float scale = shared_scale(grid, statistics.data(), in.rows);
    (grid.format.group < 0 ? r.scales[0] : r.tensor_scale) = scale;
  }
  quantize_rows(grid, estimator, in,
                {.codes = r.codes.data(),
                 .scales = r.scales.data(),
                 .f32 = r.f32.data(),
                 .bf16 = r.bf16.data(),
                 .mask = r.mask.data(),
                 .tensor_scale = r.tensor_scale});
  return r;
}

inline CodedRows coded(const Grid& grid, const Result& r, int64_t rows, int64_t columns) {
  return {.codes = r.codes.data(),
          .scales = r.scales.data(),
          .rows = rows,
          .columns = columns,
          .group = grid.format.group,
          .offset = grid.format.offset,
          .unit = grid.format.unit * r.tensor_scale};
}

template <typename T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

struct Shape {
  int64_t rows, columns, group, hadamard;
};
inline constexpr Shape kShapes[] = {
    {3, 256, 0, 128}, {2, 256, 32, 0},   {5, 37, 0, 0},     {1, 1, 0, 0},     {4, 24, 12, 8},
    {2, 15, 5, 0},    {3, 96, 0, 32},    {0, 128, 0, 128},  {2, 512, 64, 64}, {1, 1000, 0, 8},
    {2, 512, 0, 256}, {17, 640, 0, 128}, {2, 384, 128, 128}};

// Every rounding, scale rule and scale type.
inline std::vector<Grid> grids(const Shape& shape) {
  std::vector<Grid> all;
  const auto add = [&](const char* name, int bits, ScaleType type, ScaleRule rule) {
    all.push_back(with_rule(mse_grid(name, bits, shape.group, type, shape.hadamard), rule));
  };
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    add("half_int", 4, type, ScaleRule::rms);
    add("int_signed", 3, type, ScaleRule::rms);
    add("half_int", 1, type, ScaleRule::rms);
    add("int_symmetric", 8, type, ScaleRule::rms);
  }
  add("half_int", 4, ScaleType::f16_7bit, ScaleRule::absmax);
  add("half_int", 1, ScaleType::f16, ScaleRule::absmean);
  add("ternary", 2, ScaleType::f16, ScaleRule::rms);
  add("ternary", 2, ScaleType::f32, ScaleRule::absmean);
  add("int_signed", 4, ScaleType::bf16, ScaleRule::absmax);
  for (const int bits : {4, 8}) {
    add("int_signed", bits, ScaleType::f32, ScaleRule::absmax);
    all.back().rounding = Rounding::quotient;
  }
  add("fp4", 4, ScaleType::f32, ScaleRule::rms);
  for (const ScaleRule rule : {ScaleRule::rms, ScaleRule::mx_floor, ScaleRule::mx_round})
    add("fp4", 4, ScaleType::e8m0, rule);
  // As inputs are rounded.
  add("fp4", 4, ScaleType::e8m0, ScaleRule::mx_round);
  all.back().dynamic = true;
  add("fp4", 4, ScaleType::e4m3, ScaleRule::absmax);
  all.back().dynamic = true;
  all.back().second = 0.125f;
  all.back().rounding = Rounding::fp4_quotient;
  for (Grid grid : {q4_0_grid(), q8_0_grid()}) {
    grid.format.group = shape.group;
    all.push_back(grid);
  }
  return all;
}

// Those that need the whole tensor before any row.
inline std::vector<Grid> tensor_grids(const Shape& shape) {
  const auto of_tensor = [&](const char* name, int bits, ScaleType type, ScaleRule rule) {
    return with_rule(mse_grid(name, bits, -1, type, shape.hadamard), rule);
  };
  return {of_tensor("ternary", 2, ScaleType::f16, ScaleRule::absmean),
          of_tensor("half_int", 4, ScaleType::f32, ScaleRule::rms),
          of_tensor("int_symmetric", 8, ScaleType::bf16, ScaleRule::absmax),
          with_rule(mse_grid("fp4", 4, shape.group, ScaleType::e4m3, shape.hadamard),
                    ScaleRule::absmax)};
}

inline std::vector<Grid> all_grids(const Shape& shape) {
  std::vector<Grid> all = grids(shape);
  for (const Grid& grid : tensor_grids(shape)) all.push_back(grid);
  return all;
}

}  // namespace terse
