// AdamW (Loshchilov & Hutter, arXiv:1711.05101) on averaged gradients.
//
//   m <- b1 m + (1 - b1) g       v <- b2 v + (1 - b2) g^2
//   p <- (1 - lr wd) p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//
// As torch.optim.AdamW to the last place or two of fp32. One streaming pass a step; weight decay by
// segment; 8 bytes of state an element. With Phase::codec the gradients go through a lossy codec.
#pragma once
#include "optim/adam_state.h"

namespace terse {

class AdamW final : public Optimizer {
 public:
  explicit AdamW(const AdamOptions& options, Phase phase = Phase::dense);
  std::string name() const override { return "adamw"; }
  void attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) override;
  PhasePlan next_plan(int64_t step) override;
  void allow_compression(bool allowed) override { allowed_ = allowed; }
  void message(const StepContext& context, int64_t bucket, at::Tensor out) override;
  void apply(const StepContext& context, int64_t bucket, const at::Tensor& answer) override;
  void commit(const StepContext& context, const PhasePlan& next) override;
  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

 private:
  AdamState state_;
  Phase phase_;
  bool allowed_ = true;
};

}  // namespace terse
