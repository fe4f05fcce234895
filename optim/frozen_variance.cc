#include "optim/frozen_variance.h"

#include <ATen/ATen.h>

#include "comm/sums.h"

namespace terse {
namespace {

constexpr double kDead = 1e-24;

// Dead coordinates become exactly 0; live ones at least (floor * rms of their roots)^2.
void condition(at::Tensor vhat, double floor) {
  vhat.masked_fill_(vhat <= kDead, 0);
  const double live = static_cast<double>(at::count_nonzero(vhat).item<int64_t>());
  if (live == 0) return;
  const double least = floor * floor * plain_sum(vhat) / live;
  vhat.copy_(at::where(vhat > 0, vhat.clamp_min(least), vhat));
}

}  // namespace

void freeze_variance(const Bucket& bucket, at::Tensor v, double correction, double floor) {
  // A tensor: by a number, LibTorch divides on the CPU but multiplies by the reciprocal on a GPU.
  v.div_(at::full({1}, correction, v.options()));
  for (const Segment& s : bucket.segments) condition(v.narrow(0, s.offset, s.size), floor);
}

at::Tensor live_words(const at::Tensor& vhat) {
  const at::Tensor host = vhat.cpu();
  const float* v = host.const_data_ptr<float>();
  const int64_t n = host.numel();
  at::Tensor words = at::zeros({(n + 63) / 64}, at::kLong);
  int64_t* w = words.mutable_data_ptr<int64_t>();
  int64_t dead = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (v[i] > 0.0f)
      w[i / 64] |= static_cast<int64_t>(uint64_t{1} << (i % 64));
    else
      ++dead;
  }
  return dead == 0 ? at::Tensor() : words.to(vhat.device());
}

}  // namespace terse
