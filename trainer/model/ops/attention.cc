#include "trainer/model/ops/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>

#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/typed.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

float score_scale(const at::Tensor& q) {
  return 1.0f / std::sqrt(static_cast<float>(q.size(-1)));
}

// [batch, heads, length, head] -> [batch kv_heads, queries of the group, head]: the query heads
// that share a key head lie back to back, so a group is one matrix.
at::Tensor grouped(const at::Tensor& x, const at::Tensor& k) {
  return x.reshape({k.size(0) * k.size(1), -1, x.size(3)});
}

at::Tensor merge(const at::Tensor& x) {
  return x.transpose(1, 2).flatten(2);
}

// f(first row, rows of a task) over all rows of `scores` [.., keys].
template <typename F>
void for_score_rows(const at::Tensor& scores, int64_t queries, bool causal, float scale, F f) {
  const int64_t keys = scores.size(-1);
  at::parallel_for(0, scores.numel() / keys, row_grain(keys), [&](int64_t begin, int64_t end) {
    f(begin * keys, SoftmaxRows{begin, end - begin, queries, keys, scale, causal});
  });
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, bool causal) {
    const at::Tensor p = at::bmm(grouped(q, k), grouped(k, k).transpose(1, 2));
    for_compute_type(q.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      for_score_rows(p, q.size(2), causal, score_scale(q), [&](int64_t at, SoftmaxRows rows) {
        TERSE_DISPATCH(softmax_forward(elements<T>(p) + at, rows));
      });
    });
    ctx->saved_data["causal"] = causal;
    ctx->save_for_backward({q, k, v, p});
    return merge(at::bmm(p, grouped(v, v)).view_as(q));
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const bool causal = ctx->saved_data["causal"].toBool();
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &p = saved[3];
    const at::Tensor dout = grouped(
        gradients[0].reshape({q.size(0), q.size(2), q.size(1), q.size(3)}).transpose(1, 2), k);
    const at::Tensor dv = at::bmm(p.transpose(1, 2), dout);
    const at::Tensor ds = at::bmm(dout, grouped(v, v).transpose(1, 2));
    for_compute_type(q.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      for_score_rows(p, q.size(2), causal, score_scale(q), [&](int64_t at, SoftmaxRows rows) {
        TERSE_DISPATCH(softmax_backward(elements<T>(p) + at, elements<T>(ds) + at, rows));
      });
    });
    const at::Tensor dq = at::bmm(ds, grouped(k, k));
    const at::Tensor dk = at::bmm(ds.transpose(1, 2), grouped(q, k));
    return {dq.view_as(q), dk.view_as(k), dv.view_as(v), at::Tensor()};
  }
};

}  // namespace

at::Tensor attention(const Heads& heads, bool causal) {
  if (!heads.q.is_cpu()) return composed_attention(heads, causal);
  return Attention::apply(heads.q.contiguous(), heads.k.contiguous(), heads.v.contiguous(), causal);
}

at::Tensor composed_attention(const Heads& heads, bool causal) {
  const int64_t group = heads.q.size(1) / heads.k.size(1), length = heads.q.size(2);
  const at::Tensor k = heads.k.repeat_interleave(group, 1), v = heads.v.repeat_interleave(group, 1);
  at::Tensor scores = at::matmul(heads.q, k.transpose(2, 3)).to(at::kFloat);
  scores = scores * (1.0 / std::sqrt(static_cast<double>(heads.q.size(3))));
  if (causal) {
    const at::Tensor later = at::ones({length, length}, scores.options()).triu(1).to(at::kBool);
    scores = scores.masked_fill(later, -std::numeric_limits<float>::infinity());
  }
  return merge(at::matmul(at::softmax(scores, -1).to(v.scalar_type()), v));
}

}  // namespace terse
