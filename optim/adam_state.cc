#include "optim/adam_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/isa.h"
#include "comm/kernels/sums.h"
#include "comm/sums.h"
#include "optim/adam_device.h"
#include "optim/options.h"

namespace terse {
namespace {

static_assert(kAdamBlock <= kSumBlock);

// out <- m + (1 - b1)(scale gradient - m), block by block.
struct MomentumPass {
  MomentumPass(const AdamOptions& options, double by, const at::Tensor& from,
               const at::Tensor& variance, const at::Tensor& added, const at::Tensor& to)
      : rest(static_cast<float>(1 - options.beta1)),
        scale(static_cast<float>(by)),
        m(from.const_data_ptr<float>()),
        vhat(variance.defined() ? variance.const_data_ptr<float>() : nullptr),
        gradient(added.const_data_ptr<float>()),
        out(to.mutable_data_ptr<float>()) {}

  void operator()(const AdamBlock& k) const {
    const int64_t at = k.begin;
    TERSE_DISPATCH(onebit_message(rest, scale, m + at, vhat == nullptr ? nullptr : vhat + at,
                                  gradient + at, out + at, k.end - at));
  }
  void on_device(int64_t count) const {
    onebit_message_device(rest, scale, m, vhat, gradient, out, count);
  }

  float rest, scale;
  const float* m;
  const float* vhat;
  const float* gradient;
  float* out;
};

}  // namespace

AdamOptions AdamOptions::from(const OptimOptions& options) {
  return {options.beta1(), options.beta2(), options.eps, options.decay(),
          options.name == "adamw" ? std::max<int64_t>(options.variance_steps, 0) : 0};
}

std::vector<AdamBlock> adam_blocks(const Bucket& bucket, int64_t most) {
  std::vector<AdamBlock> blocks;
  for (const Segment& s : bucket.segments) {
    const int64_t end = s.offset + s.size;
    for (int64_t at = s.offset; at < end;) {
      const bool extend = !blocks.empty() && blocks.back().decay == s.decay &&
                          blocks.back().end - blocks.back().begin < most;
      if (!extend) blocks.push_back({at, at, s.decay});
      AdamBlock& block = blocks.back();
      at = block.end = std::min(end, block.begin + most);
    }
  }
  return blocks;
}

void AdamState::attach(const BucketPlan& bucket_plan,
                       std::span<const BucketTensors> bucket_tensors) {
  TERSE_CHECK(bucket_tensors.size() == bucket_plan.buckets.size(), "one tensor a bucket");
  plan = bucket_plan;
  tensors.assign(bucket_tensors.begin(), bucket_tensors.end());
  m.clear(), v.clear(), blocks.clear();
  for (size_t b = 0; b < tensors.size(); ++b) {
    m.push_back(at::zeros_like(tensors[b].value));
    v.push_back(at::zeros_like(tensors[b].value));
    const bool cpu = tensors[b].value.is_cpu();
    blocks.push_back(adam_blocks(plan.buckets[b], cpu ? kAdamBlock : plan.buckets[b].size));
  }
}

AdamStep AdamState::next_step(double learning_rate, double answer_scale) const {
  const auto t = static_cast<double>(steps + 1);
  const bool frozen = options.variance_steps > 0 && steps >= options.variance_steps;
  const double beta2 = frozen ? 1.0 : options.beta2;
  const double t2 = frozen ? static_cast<double>(options.variance_steps) : t;
  AdamStep step;
  step.answer_scale = static_cast<float>(answer_scale);
  step.one_minus_beta1 = static_cast<float>(1 - options.beta1);
  step.beta2 = static_cast<float>(beta2);
  step.one_minus_beta2 = static_cast<float>(1 - beta2);
  step.step_size = static_cast<float>(learning_rate / (1 - std::pow(options.beta1, t)));
  step.root_correction2 = static_cast<float>(std::sqrt(1 - std::pow(options.beta2, t2)));
  step.eps = static_cast<float>(options.eps);
  return step;
}

float AdamState::keep(double learning_rate) const {
  return static_cast<float>(1 - learning_rate * options.weight_decay);
}

double AdamState::gradient_message(int64_t bucket, double scale, at::Tensor out) const {
  const auto b = static_cast<size_t>(bucket);
  const at::Tensor& gradient = tensors[b].gradient;
  if (out.is_same(gradient) || !out.is_cpu()) {
    const double squares = sum_of_squares(gradient);
    if (!out.is_same(gradient)) out.copy_(gradient);
    if (scale != 1) out.mul_(scale);
    return squares;
  }
  const float* g = gradient.const_data_ptr<float>();
  float* o = out.mutable_data_ptr<float>();
  const auto factor = static_cast<float>(scale);
  return sum_over_blocks(blocks[b], [=](const AdamBlock& k) {
    for (int64_t i = k.begin; i < k.end; ++i) o[i] = factor * g[i];
    return sum_of_squares(g + k.begin, k.end - k.begin);
  });
}

void AdamState::adamw(const StepContext& context, int64_t bucket, const at::Tensor& answer) {
  update(next_step(context.learning_rate, context.answer_scale), keep(context.learning_rate),
         bucket, answer);
}

void AdamState::moments(double answer_scale, int64_t bucket, const at::Tensor& answer) {
  AdamStep still = next_step(0, answer_scale);
  still.eps = 1;  // 0 over a root of 0 moves no weight either
  update(still, 1, bucket, answer);
}

void AdamState::update(const AdamStep& base, float decayed, int64_t bucket,
                       const at::Tensor& answer) {
  const auto b = static_cast<size_t>(bucket);
  const BucketTensors& t = tensors[b];
  float* p = t.value.mutable_data_ptr<float>();
  float* mp = m[b].mutable_data_ptr<float>();
  float* vp = v[b].mutable_data_ptr<float>();
  const float* g = answer.const_data_ptr<float>();
  const bool cpu = t.value.is_cpu();
  for_each_block(blocks[b], cpu, [=, &t](const AdamBlock& k) {
    AdamStep step = base;
    if (k.decay) step.keep = decayed;
    uint16_t* r = rounded_pointer(t, k.begin);
    const int64_t n = k.end - k.begin;
    if (cpu)
      TERSE_DISPATCH(adamw(step, p + k.begin, mp + k.begin, vp + k.begin, g + k.begin, r, n));
    else
      adamw_device(step, p + k.begin, mp + k.begin, vp + k.begin, g + k.begin, r, n);
  });
}

void AdamState::momentum(int64_t bucket, double scale, const at::Tensor& vhat,
                         const at::Tensor& gradient, at::Tensor out) const {
  const auto b = static_cast<size_t>(bucket);
  const MomentumPass pass(options, scale, m[b], vhat, gradient, out);
  if (out.is_cpu())
    for_each_block(blocks[b], true, pass);
  else
    pass.on_device(out.numel());
}

double AdamState::momentum_message(int64_t bucket, double scale, const at::Tensor& vhat,
                                   at::Tensor out) const {
  const auto b = static_cast<size_t>(bucket);
  const at::Tensor& gradient = tensors[b].gradient;
  if (!out.is_cpu()) {
    momentum(bucket, scale, vhat, gradient, out);
    return sum_of_squares(gradient);
  }
  const MomentumPass pass(options, scale, m[b], vhat, gradient, out);
  return sum_over_blocks(blocks[b], [&pass](const AdamBlock& k) {
    pass(k);
    return sum_of_squares(pass.gradient + k.begin, k.end - k.begin);
  });
}

void AdamState::move_by(const StepContext& context, int64_t bucket, const at::Tensor& vhat,
                        const at::Tensor& answer) {
  const auto b = static_cast<size_t>(bucket);
  const BucketTensors& t = tensors[b];
  const AdamStep base = next_step(context.learning_rate, 1);
  const float decayed = keep(context.learning_rate);
  float* p = t.value.mutable_data_ptr<float>();
  float* mp = m[b].mutable_data_ptr<float>();
  const float* vp = vhat.const_data_ptr<float>();
  const float* a = answer.defined() ? answer.const_data_ptr<float>() : nullptr;
  const bool cpu = t.value.is_cpu();
  for_each_block(blocks[b], cpu, [=, &t](const AdamBlock& k) {
    AdamStep step = base;
    if (k.decay) step.keep = decayed;
    const int64_t at = k.begin;
    uint16_t* r = rounded_pointer(t, at);
    if (cpu)
      TERSE_DISPATCH(onebit_apply(step, p + at, mp + at, vp + at, a == nullptr ? nullptr : a + at,
                                  r, k.end - at));
    else
      onebit_apply_device(step, p + at, mp + at, vp + at, a + at, r, k.end - at);
  });
}

void AdamState::move_by_all(const StepContext& context, int64_t bucket, const at::Tensor& vhat,
                            at::Tensor& answer) {
  if (!answer.is_cpu()) return move_by(context, bucket, vhat, answer);
  std::swap(m[static_cast<size_t>(bucket)], answer);
  move_by(context, bucket, vhat, {});
}

void AdamState::save(StateWriter& state, const std::string& second_moment) const {
  state.value(Scope::shared, "optim/steps", steps);
  save_flat(state, plan, "m", m);
  save_flat(state, plan, second_moment, v);
}

void AdamState::load(const StateReader& state, const std::string& second_moment) {
  load_flat(state, plan, "m", m);
  load_flat(state, plan, second_moment, v);
  steps = state.require_integer(Scope::shared, "optim/steps");
}

void save_flat(StateWriter& state, const BucketPlan& plan, const std::string& what,
               const std::vector<at::Tensor>& flat) {
  for (const Bucket& bucket : plan.buckets) {
    at::Tensor host = flat[static_cast<size_t>(bucket.index)];
    if (!host.is_cpu()) {
      host = host.cpu();
      state.keep(std::make_shared<at::Tensor>(host));
    }
    const float* data = host.const_data_ptr<float>();
    for (const Segment& s : bucket.segments)
      state.tensor(Scope::shared, fmt::format("optim/{}/{}", what, s.name),
                   {DType::f32, {s.rows, s.columns}, bytes_of(data + s.offset, s.size)});
  }
}

void load_flat(const StateReader& state, const BucketPlan& plan, const std::string& what,
               const std::vector<at::Tensor>& flat) {
  for (const Bucket& bucket : plan.buckets) {
    at::Tensor host = at::empty({bucket.size}, at::kFloat);
    float* data = host.mutable_data_ptr<float>();
    for (const Segment& s : bucket.segments) {
      const TensorView view = state.require(Scope::shared, fmt::format("optim/{}/{}", what, s.name),
                                            DType::f32, {s.rows, s.columns});
      std::memcpy(data + s.offset, view.data.data(), view.data.size());
    }
    flat[static_cast<size_t>(bucket.index)].copy_(host);
  }
}

uint16_t* rounded_pointer(const BucketTensors& tensors, int64_t at) {
  if (!tensors.rounded.defined()) return nullptr;
  return reinterpret_cast<uint16_t*>(tensors.rounded.mutable_data_ptr<at::BFloat16>()) + at;
}

}  // namespace terse
