// Reducer: averages gradients over the Group while backward goes on, and takes the step only when
// every rank agrees that it is sound.
//
// Gradients land in flat fp32 buckets (parameters' .grad are views). A post-accumulation hook marks a
// bucket ready when its last gradient is final; a communication thread then runs
// optimizer.message -> exchange rounds in the order of the plan. finish() waits for the tail, votes
// (one small all-gather: finite? step, plan hash, phase, norms) and either commits everywhere or
// leaves everything untouched everywhere.
//
//   Reducer reducer(group, model.parameters(), optimizer, dense, compressed, options);
//   for each step:
//     reducer.begin(step, learning_rate);
//     for each micro-batch: if (last) reducer.last_micro_batch(); loss.backward();
//     StepResult r = reducer.finish(loss);
//
// Thread-safety: call from one thread. Errors: Error(peer_lost | deadline | disagree | non_finite).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/keys.h"
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
};

struct StepResult {
  bool committed = false;     // false: some rank had a non-finite gradient; nothing changed
  int64_t bad_rank = -1;      // the first rank whose gradient was not finite
  Phase phase = Phase::dense;
  double loss = 0;            // mean over ranks, summed in rank order
  double gradient_norm = 0;   // dense: of the averaged gradient; codec: sqrt(mean of squares)
  double clip_coefficient = 1;
  int64_t wire_bytes = 0;     // payload bytes this rank sent in this step
  int64_t dense_bytes = 0;    // what the fp32 exchange of the same buckets would have sent
  double exposed_seconds = 0; // finish() waiting for communication
  double comm_seconds = 0;    // communication thread busy
  bool reencoded = false;     // clip coefficient was off by more than 2: encoded again
};

class Reducer {
 public:
  Reducer(Group group, std::vector<Parameter> parameters, std::shared_ptr<Optimizer> optimizer,
          std::unique_ptr<Exchange> dense, std::unique_ptr<Exchange> compressed,
          ReducerOptions options);
  ~Reducer();
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;

  void begin(int64_t step, double learning_rate);
  void last_micro_batch();
  StepResult finish(double local_loss);

  const BucketPlan& plan() const;
  PhasePlan phase() const;  // of the step to come
  double residual_norm() const;
  int64_t encodes() const;
  // Compares a hash of all parameters over the ranks; Error(disagree) names tensor and ranks.
  void check_replicas();

  void save(StateWriter& state) const;
  void load(const StateReader& state);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
