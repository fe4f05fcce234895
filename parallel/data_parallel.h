// DataParallel: trains any torch::nn::Module on several ranks, with compressed exchange.
//
//   Net model;
//   terse::DataParallel parallel(*model, {.steps = 1000, .optim = {.name = "onebit_adam"},
//                                         .exchange = {.codec = "onebit"}});
//   while (parallel.steps_taken() < 1000) {
//     auto [x, y] = batch(parallel.rank(), parallel.ranks());   // this rank's share
//     parallel.step(torch::nn::functional::cross_entropy(model->forward(x), y));
//   }
//
// Started alone, under mpirun, torchrun or srun, or with RANK and WORLD_SIZE set, it finds its
// peers by itself (launch/world.h), takes this rank's share of the machine's cores and sets the
// number of threads (launch/binding.h). It owns the optimizer, the exchange with its error feedback
// and the overlap with backward (comm/reducer.h). All ranks begin with rank 0's weights and
// buffers.
//
// What it does to the model
//   Weights: each trainable parameter's storage becomes a view of a flat fp32 bucket, and its .grad
//   a view of the bucket's gradient. Handles stay valid, raw pointers and views taken before do
//   not. Do not call zero_grad(), to(), set_data() or an optimizer of your own afterwards; step()
//   leaves gradients zero. Parameters that no gradient reaches in a step count as zero gradients;
//   those with requires_grad off are left alone; one that is registered under two names is one
//   parameter. Decay: [optim] weight_decay applies to parameters of two or more dimensions. Buffers
//   (running statistics) stay each rank's own while training and are rank 0's after sync_buffers(),
//   save() and load().
//
// On GPUs (untried): move the model to this rank's device first; every rank must have one.
//
// Every rank must call the same methods in the same order, those marked collective above all. The
// gradient of a step is the mean over the ranks: give them shares of equal size. One thread.
//
// Errors (base/error.h), each with what to do about it: Error(usage) lists everything that is wrong
// with options or model at once; Error(disagree) if ranks have other options or another model;
// Error(peer_lost | deadline) names the rank; Error(non_finite) after ReducerOptions::max_skipped
// steps in a row; Error(invalid_file). After one, end the process.
//
// Memory, fp32 bytes a parameter: 4 weight, 4 gradient, 8 moments (AdamW), and under a codec 4 of
// messages, 8 of error feedback. Cost of a step: docs/benchmarks.md.
#pragma once
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "comm/connect.h"
#include "comm/exchange_options.h"
#include "comm/group.h"
#include "comm/reducer.h"
#include "optim/options.h"

namespace terse {

struct DataParallelOptions {
  // Of the whole run, at least 1: length of the learning-rate schedule and bound of 1-bit Adam's
  // automatic freeze. More steps may be taken; they keep the last learning rate.
  int64_t steps = 0;
  OptimOptions optim{};        // optimizer, learning rate, schedule: the recipe's [optim]
  ExchangeOptions exchange{};  // codec and its parameters: the recipe's [exchange]
  ReducerOptions reducer{};    // clipping (1.0 unless said otherwise), bucket size, overlap
  // Instead of [optim] lr and schedule: a pure function of the step, which counts from 1, so that a
  // resumed run needs no state. Equal on all ranks.
  std::function<double(int64_t step)> learning_rate{};
  ConnectOptions connect{};  // flags, backend, threads; timeout_s and device follow from the rest
};

class DataParallel {
 public:
  // Collective. `model` may end before this does; its tensors live on.
  DataParallel(torch::nn::Module& model, DataParallelOptions options);
  // On a Group of your own; `options.connect` is not used.
  DataParallel(torch::nn::Module& model, Group group, DataParallelOptions options);
  ~DataParallel();  // drops the Group; see comm/group.h
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  int rank() const;
  int ranks() const;
  Group group() const;          // for collectives of your own between steps
  int64_t steps_taken() const;  // skipped ones included

  // Backward of a micro-batch; step() takes the last one. Gradients add up: divide each loss by the
  // number of micro-batches.
  void accumulate(const at::Tensor& loss);
  // Collective. Backward, exchange, vote, update. `committed` is false if some rank's gradient was
  // not finite: then nothing has changed anywhere. `loss` is the mean over the ranks.
  StepResult step(const at::Tensor& loss);

  // Collective. Sum over the ranks, in rank order; for accuracies and the like.
  double sum(double own) const;
  // Collective. Every rank gets rank 0's buffers; call it before an evaluation.
  void sync_buffers();
  // Collective. Error(disagree) names the first tensor that differs, and the ranks.
  void check_replicas();

  // Collective. After local steps of 0/1 Adam only where StepResult::in_sync, or Error(usage); the
  // last of `steps` is such a step. Compares the replicas, then writes
  // FOLDER/checkpoints/step-NNNNNNNN with weights, buffers, optimizer and error feedback
  // (docs/formats.md): whole or not at all. The `keep` newest stay. All ranks see one folder. Your
  // position in the data and generators are yours to save.
  void save(const std::string& folder, int64_t keep = 2);
  // Collective, before the first step. Goes on from the newest checkpoint that verifies; bitwise on
  // the same number of ranks and threads, with the pending update unchanged on another. False if
  // there is none; Error(invalid_file) if there are some and none verifies.
  bool load(const std::string& folder);

  const Reducer& reducer() const;  // residual_norm(), encodes(), phase(), plan()

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
