#include "qat/lsq.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/isa.h"
#include "qat/kernels/declarations.h"

namespace terse {
namespace {

double positive_codes(const CodeFormat& format) {
  return std::max(format.code_max, 1);
}

double mean_magnitude(const float* z, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::fabs(double{z[i]});
  return n == 0 ? 0 : sum / static_cast<double>(n);
}

}  // namespace

std::vector<double> lsq_start(const CodeFormat& format, const float* z, int64_t rows,
                              int64_t columns) {
  const int64_t size = format.group < 0    ? rows * columns
                       : format.group == 0 ? columns
                                           : format.group;
  const int64_t count = format.group < 0 ? 1 : rows * groups_of(format, columns);
  std::vector<double> steps(static_cast<size_t>(count));
  double tensor = mean_magnitude(z, rows * columns);
  if (tensor == 0) tensor = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(columns, 1)));
  for (int64_t k = 0; k < count; ++k) {
    const double mean = mean_magnitude(z + k * size, size);
    steps[static_cast<size_t>(k)] =
        2 * (mean == 0 ? tensor : mean) / std::sqrt(positive_codes(format));
  }
  return steps;
}

float lsq_scale(double log_step, ScaleType type) {
  return round_scale(static_cast<float>(std::exp(log_step)), type);
}

double lsq_gradient_scale(const CodeFormat& format, int64_t n) {
  return 1 / std::sqrt(static_cast<double>(n) * positive_codes(format));
}

void step_gradient_rows(const StepGradientIn& in, float* sums) {
  TERSE_CHECK(in.z.rows == in.d.rows && in.z.columns == in.d.columns, "shapes differ");
  if (in.z.rows * in.z.columns == 0) return;
  static thread_local std::vector<float> scratch;
  scratch.resize(static_cast<size_t>(in.z.columns) + 16);
  TERSE_DISPATCH(step_gradient_rows(in, sums, scratch.data()));
}

}  // namespace terse
