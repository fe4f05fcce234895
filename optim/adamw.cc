#include "optim/adamw.h"

namespace terse {

AdamW::AdamW(const AdamOptions& options, Phase phase) : phase_(phase) {
  state_.options = options;
}

void AdamW::attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) {
  state_.attach(plan, tensors);
}

PhasePlan AdamW::next_plan(int64_t) {
  return {.phase = allowed_ ? phase_ : Phase::dense, .residual_epoch = 0};
}

void AdamW::message(const StepContext& context, int64_t bucket, at::Tensor out) {
  state_.gradient_message(bucket, context.message_scale, out);
}

void AdamW::apply(const StepContext& context, int64_t bucket, const at::Tensor& answer) {
  state_.adamw(context, bucket, answer);
}

void AdamW::commit(const StepContext&, const PhasePlan&) {
  ++state_.steps;
}

void AdamW::save(StateWriter& state) const {
  state_.save(state, "v");
}

void AdamW::load(const StateReader& state) {
  state_.load(state, "v");
}

}  // namespace terse
