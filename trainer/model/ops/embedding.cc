#include "trainer/model/ops/embedding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <span>

#include "base/half.h"
#include "trainer/model/ops/typed.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_tokens(const at::Tensor& tokens, int64_t vocab) {
  for (int64_t t : std::span(tokens.const_data_ptr<int64_t>(), static_cast<size_t>(tokens.numel())))
    TERSE_CHECK(t >= 0 && t < vocab, "token {} is outside the vocabulary of {}", t, vocab);
}

void gather_row(const float* row, float* out, int64_t width, bool round) {
  for (int64_t i = 0; i < width; ++i)
    out[i] = round ? bf16_to_float(bf16_from_float(row[i])) : row[i];
}

class Embedding : public torch::autograd::Function<Embedding> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& weight,
                            const at::Tensor& tokens, bool round) {
    const int64_t width = weight.size(1);
    auto shape = tokens.sizes().vec();
    shape.push_back(width);
    const at::Tensor out = at::empty(shape, weight.options().requires_grad(false));
    at::parallel_for(0, tokens.numel(), row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        gather_row(weight.const_data_ptr<float>() + tokens.const_data_ptr<int64_t>()[i] * width,
                   out.data_ptr<float>() + i * width, width, round);
    });
    ctx->saved_data["vocab"] = weight.size(0);
    ctx->save_for_backward({tokens});
    return out;
  }

  // A task owns some columns of every row, so that no two add to the same place.
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const at::Tensor tokens = ctx->get_saved_variables()[0], dy = gradients[0].contiguous();
    const int64_t width = dy.size(-1);
    const at::Tensor d = at::zeros({ctx->saved_data["vocab"].toInt(), width}, dy.options());
    at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < tokens.numel(); ++i) {
        float* to = d.data_ptr<float>() + tokens.const_data_ptr<int64_t>()[i] * width;
        const float* from = dy.const_data_ptr<float>() + i * width;
        for (int64_t c = begin; c < end; ++c) to[c] += from[c];
      }
    });
    return {d, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& tokens, bool round) {
  if (!weight.is_cpu()) return composed_embedding(weight, tokens, round);
  check_tokens(tokens.contiguous(), weight.size(0));
  return Embedding::apply(weight, tokens.contiguous(), round);
}

at::Tensor composed_embedding(const at::Tensor& weight, const at::Tensor& tokens, bool round) {
  const at::Tensor rows = at::embedding(weight, tokens);
  return round ? rows.to(at::kBFloat16).to(at::kFloat) : rows;
}

}  // namespace terse
