#include "trainer/model/recompute.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "base/error.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Carries a std::function through AutogradContext::saved_data.
struct SegmentHolder : torch::CustomClassHolder {
  explicit SegmentHolder(Segment s) : segment(std::move(s)) {}
  Segment segment;
};

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x,
                               const std::optional<at::Tensor>& delta, const Segment& segment) {
    ctx->set_materialize_grads(false);
    ctx->saved_data["segment"] =
        at::IValue::make_capsule(c10::make_intrusive<SegmentHolder>(segment));
    ctx->saved_data["delta"] = delta.has_value();
    ctx->save_for_backward({x, delta ? *delta : at::Tensor()});
    const Stream out = segment({x, delta});
    TERSE_CHECK(out.delta.has_value(), "a recomputed segment returns a delta");
    return {out.x, *out.delta};
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto holder =
        c10::static_intrusive_pointer_cast<SegmentHolder>(ctx->saved_data["segment"].toCapsule());
    const auto saved = ctx->get_saved_variables();
    const at::Tensor x = saved[0].detach().requires_grad_();
    std::optional<at::Tensor> delta;
    if (ctx->saved_data["delta"].toBool()) delta = saved[1].detach().requires_grad_();

    const at::AutoGradMode with_gradients(true);
    const Stream out = holder->segment({x, delta});
    variable_list roots, seeds;
    const auto add_root = [&](const at::Tensor& root, const at::Tensor& seed) {
      if (!seed.defined()) return;
      roots.push_back(root);
      seeds.push_back(seed);
    };
    add_root(out.x, gradients[0]);
    add_root(*out.delta, gradients[1]);
    torch::autograd::backward(roots, seeds);
    return {x.grad(), delta ? delta->grad() : at::Tensor(), at::Tensor()};
  }
};

}  // namespace

Stream recompute(const Segment& segment, const Stream& in) {
  if (!at::GradMode::is_enabled()) return segment(in);
  variable_list out = Recompute::apply(in.x, in.delta, segment);
  return {out[0], out[1]};
}

}  // namespace terse
