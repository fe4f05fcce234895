// AdamW (Loshchilov & Hutter, arXiv:1711.05101) on averaged gradients.
//
//   m <- b1 m + (1 - b1) g       v <- b2 v + (1 - b2) g^2
//   p <- (1 - lr wd) p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//
// As torch.optim.AdamW to the last place or two of fp32. One streaming pass a step; weight decay by
// segment; 8 bytes of state an element. With Phase::codec the gradients go through a lossy codec.
//
// AdamOptions::variance_steps = T0: from the update after T0 on v and its correction stay as they
// are, while m moves on: the second phase of STEP (Lu et al., arXiv:2302.01172), which learns masks
// on a variance that was estimated without them ([sparsity] dense = T0). Updates, not steps: a
// skipped step does not count. With an AutoSwitch (optim/auto_switch.h) T0 is found while running;
// until then a pass over v and the gradient more a step. v_hat is the bias-corrected variance, as
// Adam divides by it, where the paper keeps v: the step size does not jump at T0.
#pragma once
#include "optim/adam_state.h"
#include "optim/auto_switch.h"

namespace terse {

class AdamW final : public Optimizer {
 public:
  explicit AdamW(const AdamOptions& options, Phase phase = Phase::dense, AutoSwitch rule = {});
  std::string name() const override { return "adamw"; }
  void attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) override;
  PhasePlan next_plan(int64_t step) override;
  void allow_compression(bool allowed) override { allowed_ = allowed; }
  double message(const StepContext& context, int64_t bucket, at::Tensor out) override;
  void apply(const StepContext& context, int64_t bucket, at::Tensor& answer) override;
  void commit(const StepContext& context, const PhasePlan& next) override;
  VarianceFreeze variance_freeze() const override { return frozen_; }
  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

 private:
  // Adds up |g^2 - v| of the bucket, g the clipped average.
  void measure(double answer_scale, int64_t bucket, const at::Tensor& answer);
  void freeze(int64_t step);

  AdamState state_;
  Phase phase_;
  AutoSwitch rule_;
  double distance_ = 0;  // sum of |g^2 - v| of the update in progress
  bool freezes_;         // at some time
  VarianceFreeze frozen_;
  bool allowed_ = true;
};

}  // namespace terse
