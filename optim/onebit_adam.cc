#include "optim/onebit_adam.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "base/isa.h"
#include "comm/sums.h"
#include "optim/adam_device.h"

namespace terse {
namespace {

constexpr double kDead = 1e-24;

// Dead coordinates become exactly 0; live ones at least (floor * rms of their roots)^2.
void condition(at::Tensor vhat, double floor) {
  vhat.masked_fill_(vhat <= kDead, 0);
  const double live = static_cast<double>(at::count_nonzero(vhat).item<int64_t>());
  if (live == 0) return;
  const double least = floor * floor * plain_sum(vhat) / live;
  vhat.copy_(at::where(vhat > 0, vhat.clamp_min(least), vhat));
}

// Undefined if all are live.
at::Tensor live_words(const at::Tensor& vhat) {
  const at::Tensor host = vhat.cpu();
  const float* v = host.const_data_ptr<float>();
  const int64_t n = host.numel();
  at::Tensor words = at::zeros({(n + 63) / 64}, at::kLong);
  int64_t* w = words.mutable_data_ptr<int64_t>();
  int64_t dead = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (v[i] > 0.0f)
      w[i / 64] |= static_cast<int64_t>(uint64_t{1} << (i % 64));
    else
      ++dead;
  }
  return dead == 0 ? at::Tensor() : words.to(vhat.device());
}

}  // namespace

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

void OnebitAdam::message(const StepContext& context, int64_t bucket, at::Tensor out) {
  if (context.plan.phase == Phase::dense)
    return state_.gradient_message(bucket, context.message_scale, out);
  TERSE_CHECK(frozen_, "momentum asked for before the freeze");
  const auto b = static_cast<size_t>(bucket);
  const float rest = static_cast<float>(1 - state_.options.beta1);
  const auto scale = static_cast<float>(context.message_scale);
  const float* m = state_.m[b].const_data_ptr<float>();
  const float* v = state_.v[b].const_data_ptr<float>();
  const float* g = state_.tensors[b].gradient.const_data_ptr<float>();
  float* o = out.mutable_data_ptr<float>();
  if (!out.is_cpu()) return onebit_message_device(rest, scale, m, v, g, o, out.numel());
  const auto& blocks = state_.blocks[b];
  const auto count = static_cast<int64_t>(blocks.size());
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = blocks[static_cast<size_t>(i)].begin;
    const int64_t n = blocks[static_cast<size_t>(i)].end - at;
    TERSE_DISPATCH(onebit_message(rest, scale, m + at, v + at, g + at, o + at, n));
  }
}

void OnebitAdam::apply(const StepContext& context, int64_t bucket, const at::Tensor& answer) {
  if (context.plan.phase == Phase::dense) return state_.adamw(context, bucket, answer);
  const auto b = static_cast<size_t>(bucket);
  const BucketTensors& t = state_.tensors[b];
  const AdamStep base = state_.next_step(context.learning_rate, 1);
  const float decayed = state_.keep(context.learning_rate);
  float* p = t.value.mutable_data_ptr<float>();
  float* m = state_.m[b].mutable_data_ptr<float>();
  const float* v = state_.v[b].const_data_ptr<float>();
  const float* a = answer.const_data_ptr<float>();
  const bool cpu = t.value.is_cpu();
  const auto count = static_cast<int64_t>(state_.blocks[b].size());
#pragma omp parallel for schedule(static) if (cpu && count > 1)
  for (int64_t i = 0; i < count; ++i) {
    const AdamBlock& k = state_.blocks[b][static_cast<size_t>(i)];
    AdamStep step = base;
    if (k.decay) step.keep = decayed;
    const int64_t at = k.begin;
    uint16_t* r = rounded_pointer(t, at);
    if (cpu)
      TERSE_DISPATCH(onebit_apply(step, p + at, m + at, v + at, a + at, r, k.end - at));
    else
      onebit_apply_device(step, p + at, m + at, v + at, a + at, r, k.end - at);
  }
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
    // A tensor: by a number, LibTorch divides on the CPU but multiplies by the reciprocal on a GPU.
    state_.v[b].div_(at::full({1}, correction, state_.v[b].options()));
    for (const Segment& s : bucket.segments)
      condition(state_.v[b].narrow(0, s.offset, s.size), variance_floor_);
    state_.m[b].masked_fill_(state_.v[b] == 0, 0);
  }
  frozen_ = true;
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
