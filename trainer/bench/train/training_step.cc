#include "trainer/bench/train/training_step.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "comm/sums.h"
#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

// Moves weights and gradients into flat buckets, in the order of backward.
std::vector<BucketTensors> flatten(const BucketPlan& plan,
                                   const std::vector<Parameter>& parameters) {
  const at::NoGradGuard no_gradients;
  std::map<std::string, at::Tensor> by_name;
  for (const Parameter& p : parameters) by_name[p.name] = p.value;
  std::vector<BucketTensors> tensors;
  for (const Bucket& bucket : plan.buckets) {
    BucketTensors flat;
    flat.value = at::empty({bucket.size}, at::kFloat);
    flat.gradient = at::zeros({bucket.size}, at::kFloat);
    for (const Segment& s : bucket.segments) {
      at::Tensor& value = by_name.at(s.name);
      const at::Tensor home = flat.value.narrow(0, s.offset, s.size).view_as(value);
      home.copy_(value);
      value.set_data(home);
      value.mutable_grad() = flat.gradient.narrow(0, s.offset, s.size).view_as(value);
    }
    tensors.push_back(flat);
  }
  return tensors;
}

BucketPlan plan_of(const std::vector<Parameter>& parameters) {
  std::vector<SegmentSpec> ready;
  for (auto p = parameters.rbegin(); p != parameters.rend(); ++p) {
    const bool matrix = p->value.dim() == 2;
    ready.push_back({p->name, matrix ? p->value.size(0) : 1, p->value.size(-1), p->decay});
  }
  return plan_buckets(ready, int64_t{4} << 20);
}

}  // namespace

TrainingStep::TrainingStep(const LlamaOptions& model, const QatOptions& qat, int64_t batch,
                           const SparsityRun& sparsity)
    : model_(model, qat, ComputeOptions(), 1, sparsity),
      optimizer_(AdamOptions()),
      plan_(plan_of(model_.parameters())),
      buckets_(flatten(plan_, model_.parameters())) {
  at::manual_seed(1);
  tokens_ = at::randint(model.vocab, {batch, model.context + 1}, at::kLong);
  optimizer_.attach(plan_, buckets_);
  model_.refresh(step_);
}

void TrainingStep::step() {
  const at::Tensor loss = model_.loss(tokens_);
  loss.backward();
  double squares = 0;
  for (const BucketTensors& b : buckets_) squares += sum_of_squares(b.gradient);
  StepContext context;
  context.step = ++step_;
  context.learning_rate = 1e-3;
  context.answer_scale = std::min(1.0, 1.0 / std::sqrt(squares));
  for (size_t b = 0; b < buckets_.size(); ++b)
    optimizer_.apply(context, static_cast<int64_t>(b), buckets_[b].gradient);
  optimizer_.commit(context, optimizer_.next_plan(step_ + 1));
  for (const BucketTensors& b : buckets_) b.gradient.zero_();
  model_.after_step(context.learning_rate);
  model_.refresh(step_);
  loss_ = loss.item<double>();
}

double TrainingStep::run() {
  return wall_seconds([this] { step(); });
}

}  // namespace terse
