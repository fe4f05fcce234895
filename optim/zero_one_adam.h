// 0/1 Adam (Lu, Li, Zhang, De Sa, He, arXiv:2202.06009): the variance is refreshed ever more
// seldom, then frozen; between refreshes one bit an element is exchanged, and after the freeze
// ranks take local steps and meet ever more seldom. When: optim/zero_one_schedule.h.
//
// Up to the freeze, one exchange a step:
//   refresh    g averaged exactly   m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, then moves
//   between    g compressed         m <- b1 m + (1 - b1) g, then moves
//   moves      p <- (1 - lr wd) p - lr (m / (1 - b1^t)) / (sqrt(vhat) + eps)
//              vhat = v / (1 - b2^n) after n refreshes, conditioned as by 1-bit Adam
//              (optim/onebit_adam.h: dead and faint coordinates), anew at every refresh: a
//              coordinate that was dead lives from the next refresh on that touches it.
// While all steps are refreshes, it is AdamW bit for bit.
//
// After the freeze, with s = lr / (1 - b1^t) and k = 1 - lr wd (1 where nothing decays):
//   every step m_i <- b1 m_i + (1 - b1) c g_i     u_i <- k u_i + s m_i     K <- k K    S <- k S + s
//   local      p_i <- K a - u_i / (sqrt(vhat) + eps)                nothing is sent, not even a
//   vote meeting    u   =  average of u_i, compressed; then on all ranks alike
//              p, a <- K a - u / (sqrt(vhat) + eps)    m <- u / S    u, S <- 0    K <- 1
// a: the weights of the last meeting, kept; p is computed from it and not moved back by -u, so that
// rounding cannot leave the ranks with different weights. The residual epoch goes from 0 to 1 at
// the freeze: gradients become displacements.
//
// What local steps mean for a run
// - Between meetings weights differ by rank. The Reducer says when they do not (in_sync()):
//   checkpoints, evaluations, replica checks and stops wait for the next meeting, fewer than
//   `local_steps` steps away. So a checkpoint holds no u, resumes bitwise, and on any number of
//   ranks; a process that is killed between two meetings goes back to a checkpoint, as always. The
//   run's last step is a meeting.
// - The vote rides on meetings. A gradient that is not finite in a local step is that rank's own
//   affair: it counts as missing, momentum carries the rank on, state stays finite, S stays the
//   same on all ranks, and the next vote tells how many there were. In a meeting it is skipped by
//   all, as ever: u_i and the local weights stay, the next step is the meeting.
// - Clipping: a local step by its own gradient's norm; a meeting by the shared coefficient of
//   compressed phases. Other ranks' losses are known at meetings only.
//
// Bytes an element: m and v, 8; vhat, 4 from the first compressed step on; after the freeze m,
// vhat, u, a: 16. Errors: save() between meetings is Error(usage).
#pragma once
#include <vector>

#include "optim/adam_state.h"
#include "optim/kernels/zero_one.h"
#include "optim/zero_one_schedule.h"

namespace terse {

class ZeroOneAdam final : public Optimizer {
 public:
  ZeroOneAdam(const AdamOptions& options, ZeroOneSchedule schedule, double variance_floor);
  std::string name() const override { return "zero_one_adam"; }
  void attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) override;
  PhasePlan next_plan(int64_t step) override;
  double message(const StepContext& context, int64_t bucket, at::Tensor out) override;
  void apply(const StepContext& context, int64_t bucket, at::Tensor& answer) override;
  void commit(const StepContext& context, const PhasePlan& next) override;
  at::Tensor live(int64_t bucket) const override;
  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

  bool frozen() const { return frozen_; }

 private:
  // What has added up since the last meeting, the same on all ranks.
  struct Interval {
    int64_t steps = 0;
    double kept = 1;         // K where weights decay; 1 elsewhere
    double decayed_sum = 0;  // S there
    double sum = 0;          // S elsewhere
  };
  PhasePlan plan_of(int64_t step, int64_t update) const;
  bool only_refreshes(int64_t update) const;  // up to this update and including it
  Interval with(double learning_rate) const;
  ZeroOneStep step_of(const StepContext& context, bool decays) const;
  // f(step, first element, elements) for all blocks of a bucket, on all threads.
  template <typename F>
  void for_blocks(const StepContext& context, int64_t bucket, F f) const;
  void before_the_freeze(const StepContext& context, int64_t bucket, const at::Tensor& answer);
  void local(const StepContext& context, int64_t bucket);
  void meet(const StepContext& context, int64_t bucket, const at::Tensor& answer);
  void condition(size_t bucket, int64_t refreshes);  // vhat from v
  void condition_all();
  void freeze();
  void begin_local();
  void find_live();

  AdamState state_;  // `v` holds vhat once frozen; exactly 0 = dead
  ZeroOneSchedule schedule_;
  double variance_floor_;
  bool frozen_ = false;
  std::vector<at::Tensor> vhat_;  // before the freeze, from the first compressed step on
  std::vector<at::Tensor> u_, anchor_;
  Interval interval_;
  std::vector<at::Tensor> live_;
};

}  // namespace terse
