#include "trainer/model/ops/distill_loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/error.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Part {
  at::Tensor losses;    // fp64 [rows], of the weighted sum
  at::Tensor gradient;  // fp32, of the sum of losses
};

Part part_of(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& teacher,
             const DistillWeights& w) {
  const double t = w.temperature;
  const at::Tensor index = targets.unsqueeze(1);
  const at::Tensor log_p = at::log_softmax(logits, 1, at::kFloat);
  Part part{log_p.gather(1, index).squeeze(1).to(at::kDouble).mul(-w.task), log_p.exp()};
  part.gradient.scatter_add_(1, index, at::full(index.sizes(), -1.0, log_p.options()));
  part.gradient.mul_(w.task);
  if (w.logits == 0) return part;
  const at::Tensor log_s = at::log_softmax(logits.to(at::kFloat).div(t), 1);
  const at::Tensor log_t = at::log_softmax(teacher.to(at::kFloat).div(t), 1);
  const at::Tensor soft = log_t.exp();
  // Where the teacher says 0, 0 log 0 = 0.
  const at::Tensor terms = soft.mul(log_t.sub(log_s)).masked_fill_(soft.eq(0), 0.0);
  part.losses.add_(terms.to(at::kDouble).sum(1), w.logits * t * t);
  part.gradient.add_(log_s.exp().sub_(soft), w.logits * t);
  return part;
}

class DistillCrossEntropy : public torch::autograd::Function<DistillCrossEntropy> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits,
                            const at::Tensor& targets, const at::Tensor& teacher, double task,
                            double weight, double temperature) {
    constexpr int64_t kRows = 512;
    const int64_t rows = logits.size(0);
    const at::Tensor gradient = at::empty_like(logits);
    at::Tensor losses = at::empty({rows}, logits.options().dtype(at::kDouble));
    for (int64_t at = 0; at < rows; at += kRows) {
      const int64_t n = std::min(kRows, rows - at);
      const auto cut = [&](const at::Tensor& x) { return x.narrow(0, at, n); };
      const Part part =
          part_of(cut(logits), cut(targets), cut(teacher), {task, weight, temperature});
      cut(losses).copy_(part.losses);
      cut(gradient).copy_(part.gradient.div(static_cast<double>(rows)));
    }
    ctx->save_for_backward({gradient});
    return losses.cumsum(0)[rows - 1].div(static_cast<double>(rows)).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const at::Tensor gradient = ctx->get_saved_variables()[0];
    gradient.mul_(gradients[0]);
    return {gradient, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor distill_cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                                 const at::Tensor& teacher, const DistillWeights& weights) {
  TERSE_CHECK(logits.sizes() == teacher.sizes(), "student and teacher have other classes");
  return DistillCrossEntropy::apply(logits, targets, teacher.detach(), weights.task, weights.logits,
                                    weights.temperature);
}

at::Tensor squarehead(const std::vector<at::Tensor>& student,
                      const std::vector<at::Tensor>& teacher) {
  TERSE_CHECK(student.size() == teacher.size() && !student.empty(), "{} and {} layers",
              student.size(), teacher.size());
  at::Tensor sum;
  for (size_t l = 0; l < student.size(); ++l) {
    const at::Tensor t = teacher[l].detach();
    const at::Tensor distance = (student[l] - t).square().sum({1, 2});
    // A teacher's stream is not 0; the smallest normal number only keeps 0 / 0 out.
    const at::Tensor norm = t.square().sum({1, 2}).clamp_min(std::numeric_limits<float>::min());
    const at::Tensor mean = (distance / norm).mean();
    sum = sum.defined() ? sum + mean : mean;
  }
  return sum / static_cast<double>(student.size());
}

}  // namespace terse
