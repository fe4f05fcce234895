// What the tests of the fused operations share.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>
#include <vector>

#include "base/isa.h"

namespace terse::test {

using Tensors = std::vector<at::Tensor>;
// A differentiable function of tensors.
using Operation = std::function<Tensors(const Tensors&)>;

// Outputs, then gradients of the inputs under fixed random output gradients.
inline Tensors outputs_and_gradients(const Operation& run, const Tensors& inputs) {
  Tensors leaves;
  for (const at::Tensor& t : inputs) leaves.push_back(t.detach().clone().requires_grad_());
  // Operations may consume what they are given, so they get copies, never the leaves.
  Tensors copies;
  for (const at::Tensor& t : leaves) copies.push_back(t.clone());
  Tensors results = run(copies), seeds;
  Tensors all;
  at::manual_seed(99);
  for (const at::Tensor& r : results) {
    all.push_back(r.detach().clone());
    seeds.push_back(at::randn(r.sizes(), at::kFloat).to(r.scalar_type()));
  }
  torch::autograd::backward(results, seeds);
  for (const at::Tensor& leaf : leaves) all.push_back(leaf.grad());
  return all;
}

inline void expect_close(const Tensors& a, const Tensors& b, double relative, double absolute) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].sizes(), b[i].sizes()) << "tensor " << i;
    const at::Tensor x = a[i].to(at::kDouble), y = b[i].to(at::kDouble);
    const double scale = y.abs().max().item<double>();
    EXPECT_LE((x - y).abs().max().item<double>(), relative * scale + absolute)
        << "tensor " << i << " of largest value " << scale;
  }
}

inline void expect_same_bits(const Tensors& a, const Tensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(at::equal(a[i], b[i]))
        << "tensor " << i << ", largest difference " << (a[i] - b[i]).abs().max().item<double>();
}

// Equal bits on every instruction set of this processor and on 1, 2 and 3 threads. `run` must not
// contain a matrix product: those are ATen's.
inline void expect_reproducible(const Operation& run, const Tensors& inputs) {
  const Isa best = isa();
  const int threads = at::get_num_threads();
  const Tensors reference = outputs_and_gradients(run, inputs);
  for (Isa candidate : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(candidate)) continue;
    force_isa(candidate);
    for (int count : {1, 2, 3}) {
      at::set_num_threads(count);
      SCOPED_TRACE(std::string(isa_name(candidate)) + ", threads " + std::to_string(count));
      expect_same_bits(outputs_and_gradients(run, inputs), reference);
    }
  }
  force_isa(best);
  at::set_num_threads(threads);
}

inline at::Tensor random_tensor(at::IntArrayRef shape, at::ScalarType type, double scale = 1.0) {
  return (at::randn(shape, at::kFloat) * scale).to(type);
}

// fp32: both sides round every operation once, and sums of up to a few hundred terms in another
// order differ by a few units in the last place (2^-23 each) of the largest value.
constexpr double kFloatTolerance = 4e-6;
// bf16: one rounding of the result is 2^-9 relative; composed code rounds intermediate results too.
constexpr double kBfloatTolerance = 1.6e-2;
inline double tolerance(at::ScalarType type) {
  return type == at::kFloat ? kFloatTolerance : kBfloatTolerance;
}

}  // namespace terse::test
