#include "comm/sums.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/isa.h"
#include "comm/kernels/sums.h"
#include "comm/sums_device.h"

namespace terse {
namespace {

constexpr int64_t kBlock = kSumBlock;

void check_flat(const at::Tensor& x) {
  TERSE_CHECK(x.is_contiguous() && x.scalar_type() == at::kFloat, "flat fp32 expected");
}

template <typename Block>
double blocks_sum(const at::Tensor& x, Block block) {
  const float* data = x.const_data_ptr<float>();
  const int64_t n = x.numel();
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> parts(static_cast<size_t>(blocks));
#pragma omp parallel for schedule(static) if (blocks > 4)
  for (int64_t b = 0; b < blocks; ++b)
    parts[static_cast<size_t>(b)] = block(data + b * kBlock, std::min(kBlock, n - b * kBlock));
  double total = 0;
  for (double part : parts) total += part;
  return total;
}

}  // namespace

double sum_of_squares(const at::Tensor& x) {
  check_flat(x);
  if (!x.is_cpu()) return sum_device(x, true);
  return blocks_sum(
      x, [](const float* p, int64_t n) { return TERSE_DISPATCH(block_sum_of_squares(p, n)); });
}

double sum_of_squares(const float* x, int64_t count) {
  TERSE_CHECK(count <= kBlock, "{} elements", count);
  return TERSE_DISPATCH(block_sum_of_squares(x, count));
}

double plain_sum(const at::Tensor& x) {
  check_flat(x);
  if (!x.is_cpu()) return sum_device(x, false);
  return blocks_sum(x, [](const float* p, int64_t n) { return TERSE_DISPATCH(block_sum(p, n)); });
}

}  // namespace terse
