// SGD with momentum, and Deep Gradient Compression on top of it (Lin, Han, Mao, Wang, Dally,
// arXiv:1712.01887).
//
//   g  = c gradient + wd p              local; c: clipping (comm/reducer.h); wd not divided by N
//   sgd, and dense phases of dgc, g averaged over the ranks (wd p is the same on all):
//     u  <- mu u + g                    p <- p - lr u
//     Nesterov:  u <- mu (u + g)        p <- p - lr (u + g)        as torch.optim.SGD
//   dgc, codec phases, everything local but the last line:
//     u  <- mu u + g                    momentum correction; Nesterov as above
//     v  <- v + u                       the exchange's residual: message = u
//     send the largest of v, then there v <- 0 and u <- 0          momentum factor masking
//     p  <- p - lr mean(sent)           plain SGD: momentum has been applied already
//
// Clipping is by the shared coefficient of compressed phases, which the ranks' local norms decide
// together: the paper's local clipping before accumulation, without a rank of its own opinion.
// Segments that the codec sends whole are never masked: ordinary momentum, averaged.
// The schedule (optim/density_schedule.h) stays dense until sparse is smaller; u goes on across the
// switch. On another number of ranks u becomes the mean over the ranks.
//
// State: u, 8 bytes an element. The learning rate is SGD's, not Adam's.
#pragma once
#include <vector>

#include "comm/optimizer.h"
#include "comm/residual.h"
#include "optim/adam_state.h"
#include "optim/density_schedule.h"
#include "optim/kernels/sgd.h"

namespace terse {

struct SgdOptions {
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 0;
};

class Dgc final : public Optimizer {
 public:
  // `compress` false: plain SGD, the schedule counts for nothing.
  Dgc(const SgdOptions& options, const DensitySchedule& schedule, bool compress, int64_t ranks);
  std::string name() const override { return compress_ ? "dgc" : "sgd"; }
  void attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) override;
  PhasePlan next_plan(int64_t step) override;
  void allow_compression(bool allowed) override { allowed_ = allowed; }
  double message(const StepContext& context, int64_t bucket, at::Tensor out) override;
  void sent(int64_t bucket, std::span<const int64_t> coordinates) override;
  void rollback() override { velocity_.rollback(); }
  void apply(const StepContext& context, int64_t bucket, at::Tensor& answer) override;
  void commit(const StepContext& context, const PhasePlan& next) override;
  void save(StateWriter& state) const override { velocity_.save(state); }
  void load(const StateReader& state) override;

  const at::Tensor& velocity(int64_t bucket) const { return velocity_.current(bucket); }

 private:
  SgdStep step_of(const StepContext& context, bool decays) const;
  // f(step, first element, elements) for all blocks of a bucket, on all threads.
  template <typename F>
  void for_blocks(const StepContext& context, int64_t bucket, F f) const;

  SgdOptions options_;
  DensitySchedule schedule_;
  bool compress_;
  bool allowed_ = true;
  int64_t ranks_;
  std::vector<BucketTensors> tensors_;
  std::vector<std::vector<AdamBlock>> blocks_;
  Residual velocity_;
};

}  // namespace terse
