#include "comm/kernels/sums.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int kLanes = 16;

// The loop over lanes is independent of the others, so that vectors of any width give the same
// bits.
template <typename Term>
double lanes_sum(const float* x, int64_t count, Term term) {
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int j = 0; j < kLanes; ++j) lane[j] += term(static_cast<double>(x[i + j]));
  for (int j = 0; i < count; ++i, ++j) lane[j] += term(static_cast<double>(x[i]));
  double total = 0;
  for (double value : lane) total += value;
  return total;
}

}  // namespace

double block_sum_of_squares(const float* x, int64_t count) {
  return lanes_sum(x, count, [](double v) { return v * v; });
}

double block_sum(const float* x, int64_t count) {
  return lanes_sum(x, count, [](double v) { return v; });
}

}  // namespace terse::TERSE_ISA
