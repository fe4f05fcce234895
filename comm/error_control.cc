#include "comm/error_control.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "comm/exchange_tensors.h"

namespace terse {

Feedback parse_feedback(const std::string& name) {
  if (name == "classic") return Feedback::classic;
  if (name == "ef21") return Feedback::ef21;
  if (name == "econtrol") return Feedback::econtrol;
  fail(ExitCode::usage,
       "[exchange] feedback = \"{}\" is not known; there are classic, ef21 and econtrol", name);
}

ErrorControl::ErrorControl(const FeedbackOptions& options, const std::string& prefix)
    : options_(options), residual_(prefix) {
  if (options.kind == Feedback::classic) return;
  if (options.bf16)
    fail(ExitCode::usage,
         "[exchange] residual = \"bf16\" goes with feedback = \"classic\" only: the other policies "
         "add up what they keep over the whole run; use residual = \"fp32\"");
  mean_ = std::make_unique<Residual>(prefix + "_mean");
  if (options.kind == Feedback::econtrol) error_ = std::make_unique<Residual>(prefix + "_error");
}

template <typename F>
void ErrorControl::each(F f) {
  f(residual_);
  if (error_) f(*error_);
  if (mean_) f(*mean_);
}

void ErrorControl::attach(const BucketPlan& plan, at::Device device) {
  std::vector<Range> whole;
  int64_t longest = 0;
  for (const Bucket& bucket : plan.buckets) {
    whole.push_back({0, bucket.size});
    longest = std::max(longest, bucket.size);
  }
  counts_.assign(plan.buckets.size(), Count());
  const at::ScalarType type = options_.bf16 ? at::kBFloat16 : at::kFloat;
  each([&](Residual& r) { r.attach(plan, whole, device, type); });
  if (!options_.bf16) return;
  wide_ = at::empty({longest}, at::TensorOptions().dtype(at::kFloat).device(device));
  left_ = at::empty_like(wide_);
}

ErrorControl::Input ErrorControl::begin(int64_t bucket) {
  const uint64_t step = ++counts_.at(static_cast<size_t>(bucket)).current;
  const at::Tensor& current = residual_.current(bucket);
  if (!options_.bf16) return {current, residual_.shadow(bucket), step};
  const int64_t n = current.numel();
  return {wide_.narrow(0, 0, n).copy_(current), left_.narrow(0, 0, n), step};
}

void ErrorControl::encoded(int64_t bucket, const at::Tensor& message) {
  at::Tensor& shadow = residual_.shadow(bucket);
  if (options_.bf16) shadow.copy_(left_.narrow(0, 0, shadow.numel()));
  if (options_.kind == Feedback::ef21) shadow.sub_(message);
  if (options_.kind != Feedback::econtrol) return;
  const double eta = options_.eta;
  const at::Tensor& e = error_->current(bucket);
  at::add_out(error_->shadow(bucket), shadow, e, 1.0 - eta);
  shadow.mul_(1.0 + eta).sub_(e, eta * eta).sub_(message);
}

void ErrorControl::answered(int64_t bucket, at::Tensor answer) {
  if (!mean_) return;
  answer.add_(mean_->current(bucket));
  mean_->shadow(bucket).copy_(answer);
}

void ErrorControl::commit() {
  for (Count& count : counts_) count.committed = count.current;
  each([](Residual& r) { r.commit(); });
}

void ErrorControl::rollback() {
  for (Count& count : counts_) count.current = count.committed;
  each([](Residual& r) { r.rollback(); });
}

void ErrorControl::zero() {
  each([](Residual& r) { r.zero(); });
}

double ErrorControl::squared_norm() const {
  return error_ ? error_->squared_norm() : residual_.squared_norm();
}

void ErrorControl::save(StateWriter& state) const {
  for (size_t b = 0; b < counts_.size(); ++b) {
    const auto bucket = static_cast<int64_t>(b);
    if (residual_.current(bucket).numel() == 0) continue;  // exchanged by another (SelectExchange)
    state.value(Scope::shared, steps_key(bucket), static_cast<int64_t>(counts_[b].committed));
  }
  residual_.save(state);
  if (error_) error_->save(state);
  if (mean_) mean_->save(state);
}

void ErrorControl::load(const StateReader& state, bool own) {
  for (size_t b = 0; b < counts_.size(); ++b)
    counts_[b].current = counts_[b].committed = static_cast<uint64_t>(
        state.integer(Scope::shared, steps_key(static_cast<int64_t>(b))).value_or(0));
  each([&](Residual& r) { r.load(state, own); });
}

// In every policy r is what goes into the codec beside the message; h falls by as much.
void ErrorControl::add(int64_t bucket, const at::Tensor& owed) {
  at::Tensor(residual_.current(bucket)).add_(owed);
}

}  // namespace terse
