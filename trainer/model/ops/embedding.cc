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

// d[token] += dy's row. A task owns some columns of every row, so that no two add to the same
// place.
void add_rows(const at::Tensor& dy, const at::Tensor& tokens, const at::Tensor& d) {
  const int64_t width = dy.size(-1);
  at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < tokens.numel(); ++i) {
      float* to = d.data_ptr<float>() + tokens.const_data_ptr<int64_t>()[i] * width;
      const float* from = dy.const_data_ptr<float>() + i * width;
      for (int64_t c = begin; c < end; ++c) to[c] += from[c];
    }
  });
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
    ctx->saved_data["weight"] = weight;
    ctx->save_for_backward({tokens});
    return out;
  }

  // Into the weight's .grad where there is one, which autograd would otherwise add a whole matrix
  // to.
  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const at::Tensor tokens = ctx->get_saved_variables()[0], dy = gradients[0].contiguous();
    const at::Tensor weight = ctx->saved_data["weight"].toTensor();
    const at::Tensor preset = weight.is_leaf() ? weight.grad() : at::Tensor();
    const bool in_place = preset.defined() && preset.is_contiguous() && preset.is_cpu() &&
                          preset.scalar_type() == at::kFloat;
    const at::Tensor d = in_place ? preset : at::zeros(weight.sizes(), dy.options());
    add_rows(dy, tokens, d);
    return {in_place ? at::Tensor() : d, at::Tensor(), at::Tensor()};
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
