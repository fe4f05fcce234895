// When 0/1 Adam refreshes the variance, and when its ranks meet (arXiv:2202.06009, section 6): pure
// functions, so that ranks need not ask each other and a resumed run needs no state.
//
//   T_v  updates at which the variance is refreshed: k_0 = 1, k_{j+1} = k_j + 2^floor(j / kappa),
//        none after `freeze`.
//   T_u  steps at which ranks meet once the variance is frozen: multiples of interval(step), and
//        from the last step of the run on every one, so that a run ends with equal replicas.
//
// interval(step): 1 while the learning rate warms up; then doubled each time the learning rate has
// halved from its peak (`local_doubling` = 0, the paper's rule) or every `local_doubling` updates
// after the freeze (DeepSpeed's local_step_scaler); at most `local_steps` (the paper's H), of which
// the largest power of two counts: only multiples of powers of two never lie further apart than
// that while intervals double.
#pragma once
#include <cstdint>
#include <functional>

namespace terse {

struct OptimOptions;

struct ZeroOneSchedule {
  int64_t freeze = 1;             // updates after which the variance stays
  int64_t refresh_doubling = 16;  // kappa
  int64_t local_steps = 16;       // H; 1: the ranks meet at every step
  int64_t local_doubling = 0;
  int64_t warmup = 0;       // steps
  int64_t total_steps = 1;  // of the run
  // The learning rate as a part of its peak; counts where local_doubling = 0.
  std::function<double(int64_t step)> decay = [](int64_t) { return 1.0; };

  // [optim] freeze = 0: the end of the learning rate's warm-up, but at least 15 % of the run.
  static ZeroOneSchedule from(const OptimOptions& options, int64_t total_steps);

  // Is update number `update` (from 1) in T_v?
  bool refreshes(int64_t update) const;
  // How many of the first `update` updates are in T_v.
  int64_t refreshes_until(int64_t update) const;
  // `update`: how many updates there will have been after this step; skipped steps are none.
  int64_t interval(int64_t step, int64_t update) const;
  bool meets(int64_t step, int64_t update) const;
};

}  // namespace terse
