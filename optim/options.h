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
  std::string name = "adamw";  // adamw | onebit_adam | zero_one_adam | sgd | dgc
  double lr = 1e-3;            // the schedule's peak
  std::vector<double> betas{0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = -1;         // matrices only (Segment::decay); -1: decay()
  std::string schedule = "cosine";  // cosine | onecycle | constant (optim/schedule.h)
  int64_t warmup = -1;              // steps; -1 = a tenth of the run
  double min_lr = 0.1;              // last learning rate, as a part of lr
  int64_t freeze = 0;               // 1-bit, 0/1 Adam: steps before the variance stays; 0 = auto
  double variance_floor = 0.1;      // 1-bit, 0/1 Adam: optim/onebit_adam.h
  int64_t refresh_doubling = 16;    // 0/1 Adam: optim/zero_one_schedule.h, kappa
  int64_t local_steps = 16;         // 0/1 Adam: there, H
  int64_t local_doubling = 0;       // 0/1 Adam: there; 0 = as the learning rate halves
  int64_t variance_steps = 0;  // adamw: updates before the variance stays; 0 = never, -1 = auto
  double momentum = 0.9;       // sgd, dgc
  bool nesterov = false;       // sgd, dgc
  int64_t ramp = -1;           // dgc: steps of falling density; -1 = as many as warmup

  // 0.1 for Adam's family, decoupled. sgd and dgc add it to the gradient, so that with momentum m a
  // step shrinks weights by lr decay / (1 - m) in the end: 0 unless it is asked for.
  double decay() const {
    if (weight_decay >= 0) return weight_decay;
    return name == "sgd" || name == "dgc" ? 0.0 : 0.1;
  }
  double beta1() const { return betas[0]; }
  double beta2() const { return betas[1]; }
  int64_t warmup_steps(int64_t total_steps) const {
    return warmup >= 0 ? warmup : total_steps / 10;
  }
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

// What the optimizer should know of the exchange that will carry its messages.
struct Compression {
  bool lossy = false;  // AdamW's gradients then go through the codec too, with error feedback
  int64_t ranks = 1;
  double density = 0.001;   // of a codec that drops elements
  double sparse_below = 1;  // optim/density_schedule.h
};

// `total_steps` bounds the automatic freeze and gives automatic ramps their length.
std::shared_ptr<Optimizer> make_optimizer(const OptimOptions& options, int64_t total_steps,
                                          const Compression& compression);

}  // namespace terse
