#include "trainer/model/ops/cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <span>

#include "base/product/product.h"
#include "trainer/model/ops/cross_entropy_bf16.h"
#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/typed.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// gradient_scale 0: logits are only read.
at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& targets, float gradient_scale) {
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  const int64_t* target = targets.const_data_ptr<int64_t>();
  for (int64_t t : std::span(target, static_cast<size_t>(rows)))
    TERSE_CHECK(t >= 0 && t < vocab, "target {} is outside the vocabulary of {}", t, vocab);
  const at::Tensor loss = at::empty({rows}, logits.options().dtype(at::kFloat));
  if (gradient_scale != 0.0f && logits.scalar_type() == at::kBFloat16 && vocab % 32 == 0 &&
      vocab <= kMostBf16Vocabulary && product_available()) {
    at::parallel_for(0, rows, row_grain(vocab), [&](int64_t begin, int64_t end) {
      cross_entropy_bf16(elements<uint16_t>(logits) + begin * vocab, target + begin,
                         loss.data_ptr<float>() + begin, end - begin, vocab, gradient_scale);
    });
    return loss;
  }
  for_compute_type(logits.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    at::parallel_for(0, rows, row_grain(vocab), [&](int64_t begin, int64_t end) {
      TERSE_DISPATCH(cross_entropy_rows(elements<T>(logits) + begin * vocab, target + begin,
                                        loss.data_ptr<float>() + begin, end - begin, vocab,
                                        gradient_scale));
    });
  });
  return loss;
}

at::Tensor mean_in_order(const at::Tensor& losses) {
  double total = 0;
  for (float l : std::span(losses.const_data_ptr<float>(), static_cast<size_t>(losses.numel())))
    total += static_cast<double>(l);
  return at::scalar_tensor(total / static_cast<double>(losses.numel()), at::kFloat);
}

class CrossEntropy : public torch::autograd::Function<CrossEntropy> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits,
                            const at::Tensor& targets) {
    const float scale = 1.0f / static_cast<float>(logits.size(0));
    const at::Tensor loss = mean_in_order(row_losses(logits, targets, scale));
    ctx->save_for_backward({logits.detach()});
    return loss;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const at::Tensor d = ctx->get_saved_variables()[0];
    const float factor = gradients[0].item<float>();
    if (factor != 1.0f) {
      for_compute_type(d.scalar_type(), [&](auto tag) {
        using T = decltype(tag);
        at::parallel_for(0, d.numel(), 65536, [&](int64_t begin, int64_t end) {
          TERSE_DISPATCH(scale_values(elements<T>(d) + begin, end - begin, factor));
        });
      });
    }
    return {d, at::Tensor()};
  }
};

}  // namespace

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  if (!logits.is_cpu()) return composed_cross_entropy(logits, targets);
  if (!at::GradMode::is_enabled() || !logits.requires_grad())
    return mean_in_order(cross_entropy_each(logits, targets));
  return CrossEntropy::apply(logits.contiguous(), targets.contiguous());
}

at::Tensor cross_entropy_each(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor values = logits.detach();
  if (values.is_cpu()) return row_losses(values.contiguous(), targets.contiguous(), 0.0f);
  return at::nll_loss(at::log_softmax(values, -1, at::kFloat), targets, {}, at::Reduction::None);
}

at::Tensor composed_cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  return at::nll_loss(at::log_softmax(logits, -1, at::kFloat), targets);
}

}  // namespace terse
