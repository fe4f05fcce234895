// What AdamW, 1-bit Adam and 0/1 Adam share: hyperparameters, moments in flat buckets, and their
// checkpoint.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "base/state.h"
#include "comm/bucket.h"
#include "comm/optimizer.h"
#include "optim/kernels/adam.h"

namespace terse {

struct OptimOptions;

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  int64_t variance_steps = 0;  // updates after which v and its correction stay; 0 = never
  static AdamOptions from(const OptimOptions& options);
};

// A piece of a bucket for one thread: all of its elements decay, or none does.
struct AdamBlock {
  int64_t begin = 0;
  int64_t end = 0;
  bool decay = true;
};
// Cuts a bucket into blocks of at most `most` elements: 16,384 for threads; for a GPU, where a
// block is a launch, no limit.
inline constexpr int64_t kAdamBlock = 16384;
std::vector<AdamBlock> adam_blocks(const Bucket& bucket, int64_t most = kAdamBlock);

// f(block) for all of them: on the CPU by all threads, on a GPU one launch after the other.
template <typename F>
void for_each_block(const std::vector<AdamBlock>& blocks, bool cpu, F f) {
  const auto count = static_cast<int64_t>(blocks.size());
#pragma omp parallel for schedule(static) if (cpu && count > 1)
  for (int64_t i = 0; i < count; ++i) f(blocks[static_cast<size_t>(i)]);
}

// The sum of f(block), f returning double, over all of them in ascending order. On the CPU only.
template <typename F>
double sum_over_blocks(const std::vector<AdamBlock>& blocks, F f) {
  std::vector<double> parts(blocks.size());
  const auto count = static_cast<int64_t>(blocks.size());
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t i = 0; i < count; ++i)
    parts[static_cast<size_t>(i)] = f(blocks[static_cast<size_t>(i)]);
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

// Moments of all buckets. `steps` counts committed updates: skipped ones do not move the bias
// correction.
struct AdamState {
  AdamOptions options;
  BucketPlan plan;
  std::vector<BucketTensors> tensors;
  std::vector<at::Tensor> m;
  std::vector<at::Tensor> v;
  std::vector<std::vector<AdamBlock>> blocks;
  int64_t steps = 0;

  void attach(const BucketPlan& bucket_plan, std::span<const BucketTensors> bucket_tensors);
  // The constants of the update that follows `steps` updates, bias corrections included.
  AdamStep next_step(double learning_rate, double answer_scale) const;
  // `step.keep` for elements that decay.
  float keep(double learning_rate) const;
  // out <- scale gradient; returns the gradient's sum of squares, as Optimizer::message().
  double gradient_message(int64_t bucket, double scale, at::Tensor out) const;
  // One AdamW update of the bucket.
  void adamw(const StepContext& context, int64_t bucket, const at::Tensor& answer);
  // Only what it does to m and v.
  void moments(double answer_scale, int64_t bucket, const at::Tensor& answer);
  // out <- m + (1 - b1)(scale gradient - m) where vhat > 0, else 0; undefined vhat: all are.
  void momentum(int64_t bucket, double scale, const at::Tensor& vhat, const at::Tensor& gradient,
                at::Tensor out) const;
  // The same of this rank's own gradient; returns its sum of squares.
  double momentum_message(int64_t bucket, double scale, const at::Tensor& vhat,
                          at::Tensor out) const;
  // m <- answer where vhat > 0, else 0; p <- keep p - lr (m / (1 - b1^t)) / (sqrt(vhat) + eps).
  // Undefined answer (CPU only): m is the answer already and all vhat > 0.
  void move_by(const StepContext& context, int64_t bucket, const at::Tensor& vhat,
               const at::Tensor& answer);
  // The same where vhat > 0 everywhere: on the CPU m and `answer` change places instead of values,
  // which spares a third of what apply() moves through memory.
  void move_by_all(const StepContext& context, int64_t bucket, const at::Tensor& vhat,
                   at::Tensor& answer);

  void save(StateWriter& state, const std::string& second_moment) const;
  void load(const StateReader& state, const std::string& second_moment);

 private:
  void update(const AdamStep& base, float decayed, int64_t bucket, const at::Tensor& answer);
};

// Flat tensors under "optim/WHAT/NAME", shaped rows x columns as their segments.
void save_flat(StateWriter& state, const BucketPlan& plan, const std::string& what,
               const std::vector<at::Tensor>& flat);
void load_flat(const StateReader& state, const BucketPlan& plan, const std::string& what,
               const std::vector<at::Tensor>& flat);

// Pointer to element `at` of a bucket's rounded copy, or null if there is none.
uint16_t* rounded_pointer(const BucketTensors& tensors, int64_t at);

}  // namespace terse
