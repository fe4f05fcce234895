#include "qat/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/isa.h"
#include "qat/kernels/declarations.h"

namespace terse {
namespace {

// `elements` of them; kept a thread, since a fresh allocation each call costs page faults. On a
// cache line, since vectors that straddle two are read twice.
float* scratch_of(int64_t elements) {
  static thread_local std::vector<float> row;
  const size_t needed = static_cast<size_t>(elements) + 32;
  if (row.size() < needed) row.resize(needed);
  const uintptr_t at = reinterpret_cast<uintptr_t>(row.data());
  return reinterpret_cast<float*>((at + 63) & ~uintptr_t{63});
}

void check_rows(const RowsIn& in, int64_t hadamard) {
  TERSE_CHECK((in.f32 == nullptr) != (in.bf16 == nullptr) || in.rows * in.columns == 0,
              "rows need one source");
  TERSE_CHECK(hadamard == 0 || ((hadamard & (hadamard - 1)) == 0 && in.columns % hadamard == 0),
              "rotation block {} and {} columns", hadamard, in.columns);
}

void check_group(const Grid& grid, const RowsIn& in) {
  TERSE_CHECK(grid.format.group <= 0 || in.columns % grid.format.group == 0,
              "group {} and {} columns", grid.format.group, in.columns);
}

// Of a whole tensor, from its rows' statistics in their order.
float one_scale(const Grid& grid, const float* statistics, int64_t rows) {
  double sum = 0;
  float most = 0;
  for (int64_t r = 0; r < rows; ++r) {
    sum += statistics[r];
    if (!(statistics[r] <= most)) most = statistics[r];
  }
  const double mean = rows == 0 ? 0 : sum / static_cast<double>(rows);
  double scale = 0;
  switch (grid.rule) {
    case ScaleRule::rms:
      scale = grid.step * std::sqrt(mean) + grid.eps;
      break;
    case ScaleRule::absmean:
      scale = std::isnan(mean) ? mean : std::max(grid.step * mean, double{grid.eps});
      break;
    case ScaleRule::absmax:
      scale = double{most} / grid.step;
      break;
    default:
      fail(ExitCode::usage, "the scale rule {} is for groups, not for a whole tensor",
           to_string(grid.rule));
  }
  if (!std::isfinite(scale)) return std::numeric_limits<float>::quiet_NaN();
  const float stored = round_scale(static_cast<float>(scale), grid.format.scale_type);
  return std::isfinite(stored) ? std::max(stored, grid.least)
                               : std::numeric_limits<float>::quiet_NaN();
}

// The least power of two by which the largest scale, divided, is at most 448.
float second_scale(const float* statistics, int64_t rows) {
  float most = 0;
  for (int64_t r = 0; r < rows; ++r)
    if (!(statistics[r] <= most)) most = statistics[r];
  if (!std::isfinite(most)) return std::numeric_limits<float>::quiet_NaN();
  int exponent = 0;
  const double part = std::frexp(double{most} / largest_scale(ScaleType::e4m3), &exponent);
  if (part == 0.5) --exponent;
  return static_cast<float>(std::ldexp(1.0, std::clamp(part == 0 ? 0 : exponent, -100, 100)));
}

}  // namespace

int64_t fitting_block(int64_t columns, int64_t most) {
  int64_t block = 1;
  while (block < most && columns % (block * 2) == 0) block *= 2;
  return block;
}

void quantize_rows(const Grid& grid, const Estimator& estimator, const RowsIn& in,
                   const RowsOut& out) {
  check_rows(in, grid.format.hadamard);
  check_group(grid, in);
  if (in.rows * in.columns == 0) return;
  TERSE_CHECK(out.scales != nullptr || !scales_given(grid), "scales of {} must be given",
              to_string(grid.format));
  float* scratch = scratch_of(rows_together(in.columns) * scratch_stride(in.columns));
  TERSE_DISPATCH(quantize_rows(grid, estimator, in, out, scratch));
}

bool scales_given(const Grid& grid) {
  return grid.rule == ScaleRule::learned || grid.format.group < 0;
}

bool shares_scale(const Grid& grid) {
  if (grid.rule == ScaleRule::learned || grid.dynamic) return false;
  return grid.format.group < 0 || grid.format.scale_type == ScaleType::e4m3;
}

void row_statistics(const Grid& grid, const RowsIn& in, float* statistics) {
  check_rows(in, grid.format.hadamard);
  check_group(grid, in);
  if (in.rows * in.columns == 0) return;
  float* scratch = scratch_of(in.columns);
  TERSE_DISPATCH(row_statistics(grid, in, statistics, scratch));
}

float shared_scale(const Grid& grid, const float* statistics, int64_t rows) {
  return grid.format.group < 0 ? one_scale(grid, statistics, rows) : second_scale(statistics, rows);
}

void decode_rows(const CodedRows& in, float* f32, uint16_t* bf16) {
  if (in.rows * in.columns == 0) return;
  TERSE_DISPATCH(decode_rows(in, f32, bf16));
}

void rotate_rows(const RowsIn& in, const uint8_t* mask, int64_t hadamard, float* f32,
                 uint16_t* bf16) {
  check_rows(in, hadamard);
  if (in.rows * in.columns == 0) return;
  float* scratch = scratch_of(in.columns);
  TERSE_DISPATCH(rotate_rows(in, mask, hadamard, f32, bf16, scratch));
}

}  // namespace terse
