#include "trainer/model/ops/add_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/typed.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kBlock = 64;  // rows whose share of d weight is summed by one task

struct Forward {
  at::Tensor sum, y, rstd;
};

Forward run_forward(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                    double eps, at::ScalarType compute) {
  const int64_t width = weight.numel(), rows = x.numel() / width;
  Forward f{delta.defined() ? at::empty_like(x) : at::Tensor(),
            at::empty(x.sizes(), x.options().dtype(compute)), at::empty({rows}, x.options())};
  for_compute_type(compute, [&](auto tag) {
    using T = decltype(tag);
    at::parallel_for(0, rows, row_grain(width), [&](int64_t begin, int64_t end) {
      const int64_t at = begin * width;
      TERSE_DISPATCH(add_norm_forward(
          x.data_ptr<float>() + at, delta.defined() ? elements<T>(delta) + at : nullptr,
          weight.data_ptr<float>(), delta.defined() ? f.sum.data_ptr<float>() + at : nullptr,
          elements<T>(f.y) + at, f.rstd.data_ptr<float>() + begin, end - begin, width,
          static_cast<float>(eps)));
    });
  });
  return f;
}

struct Backward {
  at::Tensor dx, ddelta, dweight;
};

// Adds the blocks' rows in order.
at::Tensor sum_blocks(const at::Tensor& partial) {
  at::Tensor total = partial[0].clone();
  float* out = total.data_ptr<float>();
  const int64_t width = partial.size(1);
  for (int64_t b = 1; b < partial.size(0); ++b) {
    const float* row = partial.const_data_ptr<float>() + b * width;
    for (int64_t i = 0; i < width; ++i) out[i] += row[i];
  }
  return total;
}

Backward run_backward(const at::Tensor& sum, const at::Tensor& rstd, const at::Tensor& weight,
                      const at::Tensor& dy, const at::Tensor& dsum, bool delta) {
  const int64_t width = weight.numel(), rows = sum.numel() / width;
  const int64_t blocks = std::max<int64_t>(1, (rows + kBlock - 1) / kBlock);
  const bool round = delta && dy.scalar_type() != at::kFloat;
  Backward b{at::empty_like(sum), round ? at::empty_like(dy) : at::Tensor(), at::Tensor()};
  const at::Tensor partial = at::zeros({blocks, width}, sum.options());
  for_compute_type(dy.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kBlock, count = std::min(kBlock, rows - first);
        const int64_t at = first * width;
        TERSE_DISPATCH(add_norm_backward(
            sum.data_ptr<float>() + at, rstd.data_ptr<float>() + first, weight.data_ptr<float>(),
            elements<T>(dy) + at, dsum.defined() ? dsum.data_ptr<float>() + at : nullptr,
            b.dx.data_ptr<float>() + at, round ? elements<T>(b.ddelta) + at : nullptr,
            partial.data_ptr<float>() + block * width, count, width));
      }
    });
  });
  b.dweight = sum_blocks(partial);
  if (delta && !round) b.ddelta = b.dx;
  return b;
}

class AddNormFunction : public torch::autograd::Function<AddNormFunction> {
 public:
  // Returns {sum, y}, or {y} without delta.
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x,
                               const std::optional<at::Tensor>& delta, const at::Tensor& weight,
                               double eps, at::ScalarType compute) {
    Forward f = run_forward(x, delta ? *delta : at::Tensor(), weight, eps, compute);
    ctx->set_materialize_grads(false);
    ctx->saved_data["delta"] = delta.has_value();
    ctx->save_for_backward({delta ? f.sum : x, f.rstd, weight});
    if (delta) return {f.sum, f.y};
    return {f.y};
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const bool delta = ctx->saved_data["delta"].toBool();
    const auto saved = ctx->get_saved_variables();
    at::Tensor dsum = delta ? gradients[0] : at::Tensor();
    const at::Tensor& dy = gradients.back();
    if (!dy.defined()) {  // the normed output was not used
      const at::Tensor ddelta = delta ? dsum.to(at::kFloat) : at::Tensor();
      return {dsum, ddelta, at::zeros_like(saved[2]), at::Tensor(), at::Tensor()};
    }
    if (dsum.defined()) dsum = dsum.contiguous();
    Backward b = run_backward(saved[0], saved[1], saved[2], dy.contiguous(), dsum, delta);
    return {b.dx, b.ddelta, b.dweight, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

AddNorm add_norm(const at::Tensor& x, const std::optional<at::Tensor>& delta,
                 const at::Tensor& weight, double eps, at::ScalarType compute) {
  if (!x.is_cpu()) return composed_add_norm(x, delta, weight, eps, compute);
  variable_list out = AddNormFunction::apply(
      x.contiguous(), delta ? std::optional(delta->contiguous()) : std::nullopt, weight, eps,
      compute);
  return delta ? AddNorm{out[0], out[1]} : AddNorm{x, out[0]};
}

AddNorm composed_add_norm(const at::Tensor& x, const std::optional<at::Tensor>& delta,
                          const at::Tensor& weight, double eps, at::ScalarType compute) {
  const at::Tensor sum = delta ? x + delta->to(at::kFloat) : x;
  const at::Tensor rstd = at::rsqrt(sum.square().mean(-1, true) + eps);
  return {sum, (sum * rstd * weight).to(compute)};
}

}  // namespace terse
