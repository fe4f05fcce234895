// Reducer: averages gradients over the Group while backward goes on, and takes the step only when
// every rank agrees that it is sound.
//
// Gradients land in flat fp32 buckets (parameters' .grad are views). A post-accumulation hook marks
// a bucket ready when its last gradient is final; a communication thread then runs
// optimizer.message -> exchange rounds in the order of the plan (comm/reducer_thread.h: alone,
// beside backward's OpenMP team; what is left when backward ends runs on the caller's thread with
// its team). finish() waits for the tail, votes (one small all-gather: finite? step, plan hash,
// phase, norms) and either commits everywhere or leaves everything untouched everywhere.
//
// Clipping: dense phases by the norm of the averaged gradient; compressed phases scale the local
// gradient by the coefficient of the previous step's sqrt(mean over ranks of squared local norms),
// and encode the same step again when this step's turns out below half of it. The coefficient is
// the same on all ranks.
//
//   Reducer reducer(group, model.parameters(), optimizer, dense, compressed, options);
//   for each step:
//     reducer.begin(step, learning_rate);
//     for each micro-batch: if (last) reducer.last_micro_batch(); loss.backward();
//     StepResult r = reducer.finish(loss);    // r.stop: some rank wants to end here
//
// Local steps (Phase::skip; optim/zero_one_adam.h) send nothing and hold no vote. Weights differ by
// rank from the first of them to the next exchange: in_sync() says when they do not, the same on
// all ranks. save() and check_replicas() belong there. Results of a local step are this rank's own:
// loss, norm, and a gradient that is not finite, which no other rank hears of before the next vote.
//
// A parameter without a gradient this step contributes zeros. Each parameter may accumulate once
// per backward(). Memory: 8 bytes a parameter here (12 from the first compressed step on) besides
// the optimizer's and the exchange's.
//
// Thread-safety: call from one thread. Errors: Error(peer_lost | deadline | disagree | non_finite);
// those of the communication thread surface in finish(). After an error the Reducer is unusable.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/state.h"
#include "comm/bucket.h"
#include "comm/exchange.h"
#include "comm/group.h"
#include "comm/optimizer.h"
#include "comm/parameter.h"

namespace terse {

struct ReducerOptions {
  int64_t bucket_bytes = int64_t{4} << 20;  // of fp32 gradient
  double clip = 1.0;                        // largest global gradient norm; 0 = off
  bool clip_exact = false;                  // compressed phases wait for the true norm
  bool overlap = true;                      // false: everything after backward (for comparison)
  int64_t max_skipped = 20;                 // consecutive non-finite steps before Error(non_finite)
  bool rounded = false;                     // keep a bf16 copy of the weights (rounded())
};

struct StepResult {
  bool committed = false;  // false: some rank had a non-finite gradient; nothing changed
  int64_t bad_rank = -1;   // the first rank whose gradient was not finite
  Phase phase = Phase::dense;
  double loss = 0;           // mean over ranks, summed in rank order; local steps: this rank's
  double gradient_norm = 0;  // dense: of the averaged gradient; codec: sqrt(mean of squares)
  double clip_coefficient = 1;
  int64_t wire_bytes = 0;      // payload bytes this rank sent in this step
  int64_t dense_bytes = 0;     // what the fp32 exchange of the same buckets would have sent
  double exposed_seconds = 0;  // from finish()'s call to the end of the vote
  double comm_seconds = 0;     // communication thread busy
  bool reencoded = false;      // clip coefficient was off by more than 2: encoded again
  bool stop = false;           // some rank passed `stop` to finish(); the same on all ranks
  bool in_sync = true;         // weights are the same on all ranks now
  int64_t missing = 0;         // all ranks' gradients of local steps since the last vote that were
                               // not finite and counted as missing
};

class Reducer {
 public:
  // Collective. `parameters` in forward order: buckets fill in reverse. `dense` serves dense
  // phases, `compressed` codec phases (null: `dense` serves both).
  Reducer(Group group, std::vector<Parameter> parameters, std::shared_ptr<Optimizer> optimizer,
          std::unique_ptr<Exchange> dense, std::unique_ptr<Exchange> compressed,
          ReducerOptions options);
  ~Reducer();
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;

  // `step` counts from 1, skipped steps included, and is the same on all ranks.
  void begin(int64_t step, double learning_rate);
  // Before the backward() that completes the gradients. Without it nothing overlaps.
  void last_micro_batch();
  // Collective. On return gradients are zero again. Weights have moved if `committed`. `stop`: this
  // rank was asked to end after this step; the vote tells all, whether the step counts or not.
  StepResult finish(double local_loss, bool stop = false);

  const BucketPlan& plan() const;
  PhasePlan phase() const;                 // of the step to come
  std::string phase_reason() const;        // Optimizer::reason()
  VarianceFreeze variance_freeze() const;  // Optimizer::variance_freeze()
  bool in_sync() const;                    // StepResult::in_sync of the last step
  double residual_norm() const;
  // Lossy encodes so far in this process; 0 after a run that asked for compression is an error.
  int64_t encodes() const;
  std::vector<ExchangeDecision> take_decisions();  // Exchange::take_decisions()
  // With ReducerOptions::rounded: bf16 view [rows, columns] of a parameter, as of the last commit.
  at::Tensor rounded(const std::string& name) const;
  // Collective. Compares a hash of each parameter over the ranks; Error(disagree) names tensor and
  // ranks.
  void check_replicas();

  // Everything but the weights: plan, phase, clip norm, optimizer, residuals. load() belongs
  // between construction and the first begin(), with the weights restored already. save() while not
  // in_sync() is Error(usage), and so is check_replicas(). Error(invalid_file) when the bucket plan
  // differs from the saved one.
  void save(StateWriter& state) const;
  void load(const StateReader& state);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
