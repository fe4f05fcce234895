#include "optim/onebit_adam.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "comm/sums.h"
#include "optim/frozen_variance.h"

namespace terse {

OnebitAdam::OnebitAdam(const AdamOptions& options, FreezeRule rule, double variance_floor)
    : rule_(std::move(rule)), variance_floor_(variance_floor) {
  state_.options = options;
}

void OnebitAdam::attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) {
  state_.attach(plan, tensors);
  live_.assign(tensors.size(), {});
}

PhasePlan OnebitAdam::next_plan(int64_t step) {
  const bool compress = frozen_ || (allowed_ && step > 1 && rule_.due(state_.steps + 1));
  return {.phase = compress ? Phase::codec : Phase::dense, .residual_epoch = compress ? 1 : 0};
}

double OnebitAdam::message(const StepContext& context, int64_t bucket, at::Tensor out) {
  if (context.plan.phase == Phase::dense)
    return state_.gradient_message(bucket, context.message_scale, out);
  TERSE_CHECK(frozen_, "momentum asked for before the freeze");
  const auto b = static_cast<size_t>(bucket);
  // A variance is read only to find dead coordinates, of which few buckets have any.
  const at::Tensor vhat = live_[b].defined() ? state_.v[b] : at::Tensor();
  return state_.momentum_message(bucket, context.message_scale, vhat, out);
}

void OnebitAdam::apply(const StepContext& context, int64_t bucket, at::Tensor& answer) {
  if (context.plan.phase == Phase::dense) return state_.adamw(context, bucket, answer);
  const auto b = static_cast<size_t>(bucket);
  if (live_[b].defined())
    state_.move_by(context, bucket, state_.v[b], answer);
  else
    state_.move_by_all(context, bucket, state_.v[b], answer);
}

void OnebitAdam::commit(const StepContext&, const PhasePlan& next) {
  ++state_.steps;
  if (frozen_) return;
  if (next.phase == Phase::codec)
    freeze();
  else if (rule_.is_automatic())
    rule_.observe(corrected_norm());
}

double OnebitAdam::corrected_norm() const {
  double total = 0;
  for (const at::Tensor& v : state_.v) total += plain_sum(v);
  return total / (1 - std::pow(state_.options.beta2, static_cast<double>(state_.steps)));
}

void OnebitAdam::freeze() {
  const double correction = 1 - std::pow(state_.options.beta2, static_cast<double>(state_.steps));
  for (const Bucket& bucket : state_.plan.buckets) {
    const auto b = static_cast<size_t>(bucket.index);
    freeze_variance(bucket, state_.v[b], correction, variance_floor_);
    state_.m[b].masked_fill_(state_.v[b] == 0, 0);
  }
  frozen_ = true;
  reason_ = rule_.reason(state_.steps);
  find_live();
}

void OnebitAdam::find_live() {
  for (size_t b = 0; b < live_.size(); ++b) live_[b] = live_words(state_.v[b]);
}

at::Tensor OnebitAdam::live(int64_t bucket) const {
  return live_[static_cast<size_t>(bucket)];
}

void OnebitAdam::save(StateWriter& state) const {
  state.value(Scope::shared, "optim/frozen", int64_t{frozen_ ? 1 : 0});
  state_.save(state, frozen_ ? "vhat" : "v");
  if (!frozen_) rule_.save(state);
}

void OnebitAdam::load(const StateReader& state) {
  frozen_ = state.require_integer(Scope::shared, "optim/frozen") != 0;
  state_.load(state, frozen_ ? "vhat" : "v");
  if (frozen_)
    find_live();
  else
    rule_.load(state);
}

}  // namespace terse
