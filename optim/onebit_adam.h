// 1-bit Adam (Tang et al., arXiv:2102.02888): AdamW until the variance has settled, then momentum
// SGD with the frozen variance as preconditioner, so that what is compressed is linear in the
// gradients.
//
//   warm-up     AdamW, bit for bit (the very first gradient included).
//   freeze      after FreezeRule's step T: vhat = v / (1 - b2^T), corrected once and kept, so that
//               the step size neither jumps nor creeps afterwards.
//   compressed  m_i = b1 m + (1 - b1) c g_i            this rank's message; c: clipping
//               m   = the average as every rank decodes it
//               p  <- (1 - lr wd) p - lr (m / (1 - b1^t)) / (sqrt(vhat) + eps)
//
// Coordinates that one bit cannot serve, decided at the freeze from v (so alike on all ranks):
// - dead: vhat <= 1e-24, never touched so far. The bit would say +-scale where Adam says 0, and
//   scale / eps is a giant step (DeepSpeed 0.19.6: 7.6e4 a step). Message, momentum and update are
//   0 from then on; weight decay goes on, as AdamW's does at zero gradient. live() tells the codec.
// - faint: sqrt(vhat) below `variance_floor` times the segment's root mean square over its live
//   coordinates: raised to it. Momentum arrives as +-scale of the segment, so a coordinate a
//   hundred times fainter than its segment (rows of rare tokens) would move a hundred lr a step.
//   0 keeps vhat as it is.
//
// The residual epoch goes from 0 to 1 at the freeze: gradients become momenta. 8 bytes of state an
// element, one bit more when frozen.
#pragma once
#include "optim/adam_state.h"
#include "optim/freeze.h"

namespace terse {

class OnebitAdam final : public Optimizer {
 public:
  OnebitAdam(const AdamOptions& options, FreezeRule rule, double variance_floor);
  std::string name() const override { return "onebit_adam"; }
  void attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) override;
  PhasePlan next_plan(int64_t step) override;
  void allow_compression(bool allowed) override { allowed_ = allowed; }
  double message(const StepContext& context, int64_t bucket, at::Tensor out) override;
  void apply(const StepContext& context, int64_t bucket, at::Tensor& answer) override;
  void commit(const StepContext& context, const PhasePlan& next) override;
  at::Tensor live(int64_t bucket) const override;
  std::string reason() const override { return reason_; }
  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

  bool frozen() const { return frozen_; }

 private:
  void freeze();
  void find_live();
  double corrected_norm() const;  // ||v / (1 - b2^t)||_1

  AdamState state_;  // `v` holds vhat once frozen; exactly 0 = dead
  FreezeRule rule_;
  double variance_floor_;
  bool frozen_ = false;
  std::string reason_;   // of the freeze, if this process saw it
  bool allowed_ = true;  // to freeze
  std::vector<at::Tensor> live_;
};

}  // namespace terse
