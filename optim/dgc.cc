#include "optim/dgc.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "comm/sums.h"
#include "optim/kernels/sgd.h"

namespace terse {

Dgc::Dgc(const SgdOptions& options, const DensitySchedule& schedule, bool compress, int64_t ranks)
    : options_(options),
      schedule_(schedule),
      compress_(compress),
      ranks_(ranks),
      velocity_("optim/u") {}

void Dgc::attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) {
  TERSE_CHECK(tensors.size() == plan.buckets.size(), "one tensor a bucket");
  tensors_.assign(tensors.begin(), tensors.end());
  blocks_.clear();
  std::vector<Range> whole;
  for (const Bucket& bucket : plan.buckets) {
    whole.push_back({0, bucket.size});
    blocks_.push_back(adam_blocks(bucket));
  }
  const at::Device device = tensors_.empty() ? at::kCPU : tensors_[0].value.device();
  if (!device.is_cpu())
    fail(ExitCode::usage,
         "[optim] name = \"{}\" runs on the CPU only; use [train] device = \"cpu\", or adamw",
         name());
  velocity_.attach(plan, std::move(whole), device);
}

PhasePlan Dgc::next_plan(int64_t step) {
  const double density = compress_ && allowed_ ? schedule_.at(step) : 0;
  return {
      .phase = density > 0 ? Phase::codec : Phase::dense, .residual_epoch = 0, .density = density};
}

SgdStep Dgc::step_of(const StepContext& context, bool decays) const {
  const bool dense = context.plan.phase == Phase::dense;
  return {.scale = static_cast<float>(dense ? context.answer_scale : context.message_scale),
          .decay = decays ? static_cast<float>(options_.weight_decay) : 0.0f,
          .momentum = static_cast<float>(options_.momentum),
          .learning_rate = static_cast<float>(context.learning_rate),
          .nesterov = options_.nesterov};
}

template <typename F>
void Dgc::for_blocks(const StepContext& context, int64_t bucket, F f) const {
  const auto& blocks = blocks_[static_cast<size_t>(bucket)];
  const auto count = static_cast<int64_t>(blocks.size());
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t i = 0; i < count; ++i) {
    const AdamBlock& k = blocks[static_cast<size_t>(i)];
    f(step_of(context, k.decay), k.begin, k.end - k.begin);
  }
}

double Dgc::message(const StepContext& context, int64_t bucket, at::Tensor out) {
  const BucketTensors& t = tensors_[static_cast<size_t>(bucket)];
  if (context.plan.phase != Phase::codec) {
    if (!out.is_same(t.gradient)) out.copy_(t.gradient);
    return sum_of_squares(t.gradient);
  }
  const float* p = t.value.const_data_ptr<float>();
  const float* g = t.gradient.const_data_ptr<float>();
  const float* u = velocity_.current(bucket).const_data_ptr<float>();
  float* next = velocity_.shadow(bucket).mutable_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  return sum_over_blocks(blocks_[static_cast<size_t>(bucket)], [&](const AdamBlock& k) {
    const int64_t at = k.begin, n = k.end - k.begin;
    const SgdStep step = step_of(context, k.decay);
    TERSE_DISPATCH(sgd_velocity(step, p + at, g + at, u + at, next + at, to + at, n));
    return sum_of_squares(g + at, n);
  });
}

void Dgc::sent(int64_t bucket, std::span<const int64_t> coordinates) {
  if (coordinates.empty()) return;
  float* u = velocity_.shadow(bucket).mutable_data_ptr<float>();
  for (const int64_t i : coordinates) u[i] = 0.0f;
}

void Dgc::apply(const StepContext& context, int64_t bucket, at::Tensor& answer) {
  const BucketTensors& t = tensors_[static_cast<size_t>(bucket)];
  float* p = t.value.mutable_data_ptr<float>();
  const float* d = answer.const_data_ptr<float>();
  const bool dense = context.plan.phase == Phase::dense;
  float* u = at::Tensor(velocity_.current(bucket)).mutable_data_ptr<float>();
  for_blocks(context, bucket, [&](const SgdStep& step, int64_t at, int64_t n) {
    uint16_t* r = rounded_pointer(t, at);
    if (dense)
      TERSE_DISPATCH(sgd_momentum(step, p + at, d + at, u + at, r, n));
    else
      TERSE_DISPATCH(sgd_apply(step, p + at, d + at, r, n));
  });
}

void Dgc::commit(const StepContext&, const PhasePlan&) {
  velocity_.commit();
}

void Dgc::load(const StateReader& state) {
  velocity_.load(state, state.saved_ranks() == ranks_);
}

}  // namespace terse
