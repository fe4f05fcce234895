// The recipe's [optim] table, and the optimizer that it names.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/keys.h"
#include "comm/optimizer.h"

namespace terse {

struct OptimOptions {
  std::string name = "adamw";  // adamw | onebit_adam
  double lr = 1e-3;            // the schedule's peak
  std::vector<double> betas{0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;        // decoupled; matrices only (Segment::decay)
  std::string schedule = "cosine";  // cosine | onecycle | constant (optim/schedule.h)
  int64_t warmup = -1;              // steps; -1 = a tenth of the run
  double min_lr = 0.1;              // last learning rate, as a part of lr
  int64_t freeze = 0;               // 1-bit Adam: dense steps before compression; 0 = automatic
  double variance_floor = 0.1;      // 1-bit Adam: optim/onebit_adam.h

  double beta1() const { return betas[0]; }
  double beta2() const { return betas[1]; }
  int64_t warmup_steps(int64_t total_steps) const {
    return warmup >= 0 ? warmup : total_steps / 10;
  }
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

// `total_steps` bounds the automatic freeze. `lossy_codec`: [exchange] codec loses information, so
// AdamW's gradients go through it too, with error feedback.
std::shared_ptr<Optimizer> make_optimizer(const OptimOptions& options, int64_t total_steps,
                                          bool lossy_codec);

}  // namespace terse
