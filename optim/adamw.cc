#include "optim/adamw.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "comm/sums.h"

namespace terse {

AdamW::AdamW(const AdamOptions& options, Phase phase, AutoSwitch rule)
    : phase_(phase), rule_(std::move(rule)), freezes_(rule_.on() || options.variance_steps > 0) {
  state_.options = options;
}

void AdamW::attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) {
  state_.attach(plan, tensors);
}

PhasePlan AdamW::next_plan(int64_t) {
  return {.phase = allowed_ ? phase_ : Phase::dense, .residual_epoch = 0};
}

double AdamW::message(const StepContext& context, int64_t bucket, at::Tensor out) {
  return state_.gradient_message(bucket, context.message_scale, out);
}

void AdamW::apply(const StepContext& context, int64_t bucket, at::Tensor& answer) {
  if (rule_.on() && frozen_.step < 0) measure(context.answer_scale, bucket, answer);
  state_.adamw(context, bucket, answer);
}

void AdamW::measure(double answer_scale, int64_t bucket, const at::Tensor& answer) {
  const at::Tensor& v = state_.v[static_cast<size_t>(bucket)];
  distance_ += plain_sum(answer.mul(answer_scale).square_().sub_(v).abs_());
}

void AdamW::commit(const StepContext& context, const PhasePlan&) {
  ++state_.steps;
  if (!freezes_ || frozen_.step >= 0) return;
  if (!rule_.on()) {
    if (state_.steps >= state_.options.variance_steps) freeze(context.step);
    return;
  }
  int64_t elements = 0;
  for (const at::Tensor& v : state_.v) elements += v.numel();
  rule_.observe((1 - state_.options.beta2) * distance_ / static_cast<double>(elements));
  distance_ = 0;
  if (rule_.due()) freeze(context.step);
}

void AdamW::freeze(int64_t step) {
  frozen_.step = step;
  frozen_.reason = rule_.on()
                       ? rule_.reason()
                       : fmt::format("[optim] variance_steps = {}", state_.options.variance_steps);
  state_.options.variance_steps = state_.steps;
}

void AdamW::save(StateWriter& state) const {
  state_.save(state, "v");
  if (!freezes_) return;
  state.value(Scope::shared, "optim/variance_steps", state_.options.variance_steps);
  state.value(Scope::shared, "optim/variance_frozen_at", frozen_.step);
  if (rule_.on()) rule_.save(state);
}

void AdamW::load(const StateReader& state) {
  state_.load(state, "v");
  if (!freezes_) return;
  frozen_.step = state.require_integer(Scope::shared, "optim/variance_frozen_at");
  // Until then the recipe's number, which may have been changed, counts.
  if (frozen_.step >= 0)
    state_.options.variance_steps = state.require_integer(Scope::shared, "optim/variance_steps");
  if (rule_.on()) rule_.load(state);
}

}  // namespace terse
