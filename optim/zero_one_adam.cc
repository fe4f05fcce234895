#include "optim/zero_one_adam.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/isa.h"
#include "comm/sums.h"
#include "optim/frozen_variance.h"
#include "optim/zero_one_device.h"

namespace terse {

ZeroOneAdam::ZeroOneAdam(const AdamOptions& options, ZeroOneSchedule schedule,
                         double variance_floor)
    : schedule_(std::move(schedule)), variance_floor_(variance_floor) {
  state_.options = options;
}

void ZeroOneAdam::attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) {
  state_.attach(plan, tensors);
  live_.assign(tensors.size(), {});
  vhat_.assign(tensors.size(), {});
}

PhasePlan ZeroOneAdam::next_plan(int64_t step) {
  // The step in progress, if any, will have been an update.
  return plan_of(step, state_.steps + (step > 1 ? 2 : 1));
}

PhasePlan ZeroOneAdam::plan_of(int64_t step, int64_t update) const {
  if (update <= schedule_.freeze)
    return {.phase = schedule_.refreshes(update) ? Phase::dense : Phase::codec,
            .residual_epoch = 0};
  return {.phase = schedule_.meets(step, update) ? Phase::codec : Phase::skip, .residual_epoch = 1};
}

bool ZeroOneAdam::only_refreshes(int64_t update) const {
  return schedule_.refreshes_until(update) == update;
}

double ZeroOneAdam::message(const StepContext& context, int64_t bucket, at::Tensor out) {
  if (context.plan.residual_epoch == 0)
    return state_.gradient_message(bucket, context.message_scale, out);
  TERSE_CHECK(frozen_, "u asked for before the freeze");
  const auto b = static_cast<size_t>(bucket);
  const float* m = state_.m[b].const_data_ptr<float>();
  const float* u = u_[b].const_data_ptr<float>();
  const float* v = state_.v[b].const_data_ptr<float>();
  const float* g = state_.tensors[b].gradient.const_data_ptr<float>();
  float* o = out.mutable_data_ptr<float>();
  const bool cpu = out.is_cpu();
  const double squares = sum_of_squares(state_.tensors[b].gradient);
  for_blocks(context, bucket, [=](const ZeroOneStep& step, int64_t at, int64_t n) {
    if (cpu)
      TERSE_DISPATCH(zero_one_message(step, m + at, u + at, v + at, g + at, o + at, n));
    else
      zero_one_message_device(step, m + at, u + at, v + at, g + at, o + at, n);
  });
  return squares;
}

void ZeroOneAdam::apply(const StepContext& context, int64_t bucket, at::Tensor& answer) {
  if (context.plan.residual_epoch == 0) return before_the_freeze(context, bucket, answer);
  if (context.plan.phase == Phase::skip) return local(context, bucket);
  meet(context, bucket, answer);
}

void ZeroOneAdam::before_the_freeze(const StepContext& context, int64_t bucket,
                                    const at::Tensor& answer) {
  const bool refresh = context.plan.phase == Phase::dense;
  if (refresh && only_refreshes(state_.steps + 1)) return state_.adamw(context, bucket, answer);
  const auto b = static_cast<size_t>(bucket);
  // This rank's own gradient has been sent; its memory takes the new momentum.
  at::Tensor momentum = state_.tensors[b].gradient;
  if (refresh) {
    state_.moments(context.answer_scale, bucket, answer);
    condition(b, schedule_.refreshes_until(state_.steps + 1));
    momentum.copy_(state_.m[b]);
  } else {
    state_.momentum(bucket, 1, vhat_[b], answer, momentum);
  }
  state_.move_by(context, bucket, vhat_[b], momentum);
}

ZeroOneAdam::Interval ZeroOneAdam::with(double learning_rate) const {
  const double t = static_cast<double>(state_.steps + 1);
  const double size = learning_rate / (1 - std::pow(state_.options.beta1, t));
  const double keep = 1 - learning_rate * state_.options.weight_decay;
  return {.steps = interval_.steps + 1,
          .kept = interval_.kept * keep,
          .decayed_sum = interval_.decayed_sum * keep + size,
          .sum = interval_.sum + size};
}

ZeroOneStep ZeroOneAdam::step_of(const StepContext& context, bool decays) const {
  const AdamStep adam = state_.next_step(context.learning_rate, 1);
  const Interval interval = with(context.learning_rate);
  ZeroOneStep step;
  step.one_minus_beta1 = adam.one_minus_beta1;
  step.scale = static_cast<float>(context.message_scale);
  step.step_size = adam.step_size;
  step.eps = adam.eps;
  step.keep = decays ? state_.keep(context.learning_rate) : 1;
  step.kept = decays ? static_cast<float>(interval.kept) : 1;
  step.sum = static_cast<float>(decays ? interval.decayed_sum : interval.sum);
  return step;
}

template <typename F>
void ZeroOneAdam::for_blocks(const StepContext& context, int64_t bucket, F f) const {
  const auto b = static_cast<size_t>(bucket);
  const ZeroOneStep decaying = step_of(context, true), others = step_of(context, false);
  for_each_block(state_.blocks[b], state_.tensors[b].value.is_cpu(), [&](const AdamBlock& k) {
    f(k.decay ? decaying : others, k.begin, k.end - k.begin);
  });
}

void ZeroOneAdam::local(const StepContext& context, int64_t bucket) {
  const auto b = static_cast<size_t>(bucket);
  const BucketTensors& t = state_.tensors[b];
  StepContext own = context;
  if (context.missing) {
    at::Tensor gradient = t.gradient;
    gradient.copy_(state_.m[b]);  // m + (1 - b1)(m - m) is m
    own.message_scale = 1;
  }
  float* p = t.value.mutable_data_ptr<float>();
  const float* a = anchor_[b].const_data_ptr<float>();
  float* m = state_.m[b].mutable_data_ptr<float>();
  float* u = u_[b].mutable_data_ptr<float>();
  const float* v = state_.v[b].const_data_ptr<float>();
  const float* g = t.gradient.const_data_ptr<float>();
  for_blocks(own, bucket, [=, &t](const ZeroOneStep& step, int64_t at, int64_t n) {
    uint16_t* r = rounded_pointer(t, at);
    if (t.value.is_cpu())
      TERSE_DISPATCH(zero_one_local(step, p + at, a + at, m + at, u + at, v + at, g + at, r, n));
    else
      zero_one_local_device(step, p + at, a + at, m + at, u + at, v + at, g + at, r, n);
  });
}

void ZeroOneAdam::meet(const StepContext& context, int64_t bucket, const at::Tensor& answer) {
  const auto b = static_cast<size_t>(bucket);
  const BucketTensors& t = state_.tensors[b];
  float* p = t.value.mutable_data_ptr<float>();
  float* a = anchor_[b].mutable_data_ptr<float>();
  float* m = state_.m[b].mutable_data_ptr<float>();
  float* u = u_[b].mutable_data_ptr<float>();
  const float* v = state_.v[b].const_data_ptr<float>();
  const float* x = answer.const_data_ptr<float>();
  for_blocks(context, bucket, [=, &t](const ZeroOneStep& step, int64_t at, int64_t n) {
    uint16_t* r = rounded_pointer(t, at);
    if (t.value.is_cpu())
      TERSE_DISPATCH(zero_one_meet(step, p + at, a + at, m + at, u + at, v + at, x + at, r, n));
    else
      zero_one_meet_device(step, p + at, a + at, m + at, u + at, v + at, x + at, r, n);
  });
}

void ZeroOneAdam::commit(const StepContext& context, const PhasePlan& next) {
  if (context.plan.phase == Phase::skip)
    interval_ = with(context.learning_rate);
  else
    interval_ = {};
  ++state_.steps;
  if (context.plan.phase == Phase::dense && next.phase != Phase::dense) {
    if (only_refreshes(state_.steps)) condition_all();
    find_live();
  }
  if (!frozen_ && next.residual_epoch == 1) freeze();
}

void ZeroOneAdam::condition(size_t bucket, int64_t refreshes) {
  vhat_[bucket] = state_.v[bucket].clone();
  const double correction = 1 - std::pow(state_.options.beta2, static_cast<double>(refreshes));
  freeze_variance(state_.plan.buckets[bucket], vhat_[bucket], correction, variance_floor_);
}

void ZeroOneAdam::condition_all() {
  for (size_t b = 0; b < vhat_.size(); ++b) condition(b, schedule_.refreshes_until(state_.steps));
}

void ZeroOneAdam::freeze() {
  for (size_t b = 0; b < vhat_.size(); ++b) {
    state_.v[b] = std::exchange(vhat_[b], {});
    state_.m[b].masked_fill_(state_.v[b] == 0, 0);
  }
  frozen_ = true;
  begin_local();
}

void ZeroOneAdam::begin_local() {
  interval_ = {};
  u_.clear(), anchor_.clear();
  for (const BucketTensors& t : state_.tensors) {
    u_.push_back(at::zeros_like(t.value));
    anchor_.push_back(t.value.clone());
  }
}

void ZeroOneAdam::find_live() {
  for (size_t b = 0; b < live_.size(); ++b) live_[b] = live_words(frozen_ ? state_.v[b] : vhat_[b]);
}

at::Tensor ZeroOneAdam::live(int64_t bucket) const {
  return live_[static_cast<size_t>(bucket)];
}

void ZeroOneAdam::save(StateWriter& state) const {
  if (interval_.steps > 0)
    fail(ExitCode::usage,
         "asked to save {} local steps after the ranks last met, when their weights differ; save "
         "after a step whose StepResult says in_sync",
         interval_.steps);
  state.value(Scope::shared, "optim/frozen", int64_t{frozen_ ? 1 : 0});
  state_.save(state, frozen_ ? "vhat" : "v");
}

void ZeroOneAdam::load(const StateReader& state) {
  frozen_ = state.require_integer(Scope::shared, "optim/frozen") != 0;
  state_.load(state, frozen_ ? "vhat" : "v");
  if (frozen_)
    begin_local();
  else if (!only_refreshes(state_.steps + 1))
    condition_all();
  else
    return live_.assign(live_.size(), {});
  find_live();
}

}  // namespace terse
