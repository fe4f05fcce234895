// `terse lab optimize`: steps an optimizer through given gradients and writes what it did, for
// comparison with any other implementation. The Reducer and the exchange are those of training.
//
// Input (F32): start values NAME and this rank's gradients NAME@STEP; steps are consecutive numbers
// from any start, and a tensor without a gradient at a step gets zeros. Tensors of two or more
// dimensions decay, others do not. Written, F32 in NAME's shape: NAME@STEP after each step, and at
// the end NAME.m, NAME.v or (frozen) NAME.vhat, and NAME.residual where the codec has one.
// Metadata, as JSON arrays by step: "phase" ("dense", "codec", "skip"), "learning_rate",
// "clip_coefficient", "committed", "wire_bytes".
#pragma once
#include <string>

#include "base/keys.h"
#include "comm/exchange_options.h"
#include "comm/group.h"
#include "optim/options.h"

namespace terse {

// The learning rate is constant unless `schedule` and `warmup` say otherwise.
struct LabOptimOptions : OptimOptions {
  LabOptimOptions() {
    schedule = "constant";
    warmup = 0;
  }
};

// Of [train].
struct LabClipOptions {
  double clip = 0;  // largest gradient norm; 0 = off
  void bind(Keys& keys) { keys.number("clip", clip, 0, 1e9, "largest global gradient norm"); }
};

struct LabOptimizeOptions {
  LabOptimOptions optim;
  ExchangeOptions exchange;
  LabClipOptions train;
  std::string in;              // "{rank}" is replaced by the rank
  std::string out;             // without "{rank}" only rank 0 writes
  int64_t ranks_per_node = 1;  // for [exchange] hierarchy
};

// Collective over `group`. Memory: the values of all steps. Error(invalid_file): the input, naming
// file and tensor.
void lab_optimize(const LabOptimizeOptions& options, const Group& group);

}  // namespace terse
