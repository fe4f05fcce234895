// Learning rate as a pure function of the step, so that a resumed run needs no state.
//
// With T total steps, w warm-up steps, p the peak and r = min_lr, for step t = 1 .. T:
//   cosine    p t / w up to t = w; then r p + (1 - r) p (1 + cos(pi (t - w) / (T - w))) / 2
//   onecycle  torch.optim.lr_scheduler.OneCycleLR(p, T, pct_start = w / T, div_factor = 100,
//             final_div_factor = 0.01 / r), as QuEST trains: both halves are cosines, from p / 100
//             to p at step w, then to r p at step T
//   constant  p t / w up to t = w; then p
// Steps beyond T keep the last value.
#pragma once
#include <cstdint>

#include "optim/options.h"

namespace terse {

double learning_rate(const OptimOptions& options, int64_t step, int64_t total_steps);

}  // namespace terse
