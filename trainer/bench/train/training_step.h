// One terse training step, all of it, without a network: what the trainer does on one rank.
#pragma once
#include <vector>

#include "comm/bucket.h"
#include "comm/optimizer.h"
#include "optim/adamw.h"
#include "trainer/model/llama.h"

namespace terse {

// Gradients and weights are flat buckets as in comm/reducer.h; the batch is random and stays the
// same.
class TrainingStep {
 public:
  TrainingStep(const LlamaOptions& model, const QatOptions& qat, int64_t batch,
               const SparsityRun& sparsity = {});
  double run();  // seconds
  double loss() const { return loss_; }

 private:
  void step();

  Llama model_;
  AdamW optimizer_;
  BucketPlan plan_;
  std::vector<BucketTensors> buckets_;
  at::Tensor tokens_;
  int64_t step_ = 0;
  double loss_ = 0;
};

}  // namespace terse
