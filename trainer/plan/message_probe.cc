#include "trainer/plan/message_probe.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <vector>

#include "base/error.h"

namespace terse {
namespace {

constexpr int64_t kMostSteps = 8;  // until the first compressed one

class Messages {
 public:
  Messages(const OptimOptions& options, const Compression& compression, const BucketPlan& plan,
           std::span<const at::Tensor> gradients)
      : optimizer_(make_optimizer(options, kMostSteps, compression)) {
    for (const at::Tensor& g : gradients) tensors_.push_back({at::zeros_like(g), g.clone(), {}});
    optimizer_->attach(plan, tensors_);
    context_.step = 1;
    context_.learning_rate = 1e-4;
    context_.plan = optimizer_->next_plan(1);
    while (context_.plan.phase != Phase::codec) take_step();
  }

  double fill(int64_t bucket, at::Tensor message) {
    return optimizer_->message(context_, bucket, std::move(message));
  }

 private:
  // With no other rank: what this one says is what it hears.
  void take_step() {
    TERSE_CHECK(context_.step < kMostSteps, "{} does not compress", optimizer_->name());
    for (size_t b = 0; b < tensors_.size(); ++b) {
      const auto bucket = static_cast<int64_t>(b);
      at::Tensor answer = tensors_[b].gradient.clone();
      if (context_.plan.phase == Phase::dense) optimizer_->message(context_, bucket, answer);
      optimizer_->apply(context_, bucket, answer);
    }
    const PhasePlan next = optimizer_->next_plan(context_.step + 1);
    optimizer_->commit(context_, next);
    context_.plan = next;
    ++context_.step;
  }

  std::shared_ptr<Optimizer> optimizer_;
  std::vector<BucketTensors> tensors_;
  StepContext context_;
};

}  // namespace

FillMessage optimizer_messages(OptimOptions options, const Compression& compression,
                               const BucketPlan& plan, std::span<const at::Tensor> gradients) {
  const at::NoGradGuard no_grad;
  options.freeze = 1;
  options.ramp = 0;
  options.warmup = 0;
  options.local_steps = 1;
  auto messages = std::make_shared<Messages>(options, compression, plan, gradients);
  return [messages](int64_t bucket, at::Tensor message) {
    return messages->fill(bucket, std::move(message));
  };
}

}  // namespace terse
