// One bucket of random weights under an optimizer, with exact averaging over one rank: the
// Reducer's protocol without the Reducer.
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "comm/optimizer.h"
#include "comm/sums.h"

namespace terse {

class Flat {
 public:
  Flat(const std::vector<SegmentSpec>& segments, std::shared_ptr<Optimizer> optimizer,
       at::Device device = at::kCPU)
      : plan_(plan_buckets(segments, int64_t{1} << 30)), optimizer_(std::move(optimizer)) {
    const int64_t n = plan_.buckets[0].size;
    tensors_.push_back({at::randn({n}).to(device), at::zeros({n}, at::device(device)), {}});
    optimizer_->attach(plan_, tensors_);
    next_ = optimizer_->next_plan(1);
  }

  std::vector<const Segment*> segments() const {
    std::vector<const Segment*> all;
    for (const Segment& s : plan_.buckets[0].segments) all.push_back(&s);
    return all;
  }
  at::Tensor bucket_value() { return tensors_[0].value; }
  at::Tensor bucket_gradient() { return tensors_[0].gradient; }
  at::Tensor value(const Segment& s) { return tensors_[0].value.narrow(0, s.offset, s.size); }
  at::Tensor gradient(const Segment& s) { return tensors_[0].gradient.narrow(0, s.offset, s.size); }
  void fill_gradient(double x) { tensors_[0].gradient.fill_(x); }
  Optimizer& optimizer() { return *optimizer_; }
  PhasePlan next() const { return next_; }
  void set_next(PhasePlan plan) { next_ = plan; }

  // What would be sent now.
  at::Tensor message(int64_t step, double lr, double scale = 1) {
    at::Tensor out = at::empty_like(tensors_[0].gradient);
    const double squares = optimizer_->message(context(step, lr, scale), 0, out);
    const double expected = sum_of_squares(tensors_[0].gradient);
    // Added in fp64, by other blocks.
    EXPECT_NEAR(squares, expected, 1e-12 * expected);
    return out;
  }
  // A whole step; `answer` replaces the message where given.
  void step(int64_t number, double lr, at::Tensor answer = {}) {
    const StepContext c = context(number, lr, 1);
    if (!answer.defined() && c.plan.phase != Phase::skip) answer = message(number, lr);
    take(c, answer);
  }
  // A local step whose gradient is not finite.
  void miss(int64_t number, double lr) {
    StepContext c = context(number, lr, 1);
    c.missing = true;
    take(c, {});
  }

 private:
  void take(const StepContext& c, at::Tensor answer) {
    next_ = optimizer_->next_plan(c.step + 1);
    optimizer_->apply(c, 0, answer);
    optimizer_->commit(c, next_);
  }
  StepContext context(int64_t step, double lr, double scale) {
    const PhasePlan plan = in_step_ == step ? plan_of_step_ : next_;
    in_step_ = step, plan_of_step_ = plan;
    return {.step = step, .learning_rate = lr, .plan = plan, .message_scale = scale};
  }

  BucketPlan plan_;
  std::vector<BucketTensors> tensors_;
  std::shared_ptr<Optimizer> optimizer_;
  PhasePlan next_, plan_of_step_;
  int64_t in_step_ = 0;
};

}  // namespace terse
