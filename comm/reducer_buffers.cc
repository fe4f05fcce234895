#include "comm/reducer_buffers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>

#include "base/error.h"

namespace terse {

class ReducerBuffers::Hook final : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(ReducerBuffers* buffers, size_t member) : buffers_(buffers), member_(member) {}
  void operator()(const torch::autograd::Variable&) override { buffers_->accumulated(member_); }

 private:
  ReducerBuffers* buffers_;
  size_t member_;
};

ReducerBuffers::ReducerBuffers(std::vector<Parameter> parameters, int64_t bucket_bytes,
                               bool rounded) {
  std::reverse(parameters.begin(), parameters.end());
  for (Parameter& p : parameters) members_.push_back({std::move(p), {}, 0, false});
  make_plan(bucket_bytes);
  rehome(rounded);
  for (size_t i = 0; i < members_.size(); ++i)
    torch::autograd::impl::set_post_acc_grad_hooks(members_[i].parameter.value,
                                                   std::make_unique<Hook>(this, i));
}

ReducerBuffers::~ReducerBuffers() {
  for (Member& member : members_)
    torch::autograd::impl::set_post_acc_grad_hooks(member.parameter.value, nullptr);
}

void ReducerBuffers::make_plan(int64_t bucket_bytes) {
  std::vector<SegmentSpec> specs;
  for (const Member& member : members_) {
    const at::Tensor& value = member.parameter.value;
    TERSE_CHECK(value.is_leaf() && value.requires_grad() && value.scalar_type() == at::kFloat,
                "parameter '{}' is not an fp32 leaf that requires grad", member.parameter.name);
    const int64_t rows = value.dim() < 2 ? 1 : value.size(0);
    const int64_t columns = rows == 0 ? 0 : value.numel() / rows;
    specs.push_back({member.parameter.name, rows, columns, member.parameter.decay});
  }
  plan_ = plan_buckets(specs, bucket_bytes);
}

void ReducerBuffers::rehome(bool rounded) {
  const at::NoGradGuard no_grad;
  size_t next = 0;
  for (const Bucket& bucket : plan_.buckets) {
    const auto options = members_[next].parameter.value.options().requires_grad(false);
    BucketTensors t{at::empty({bucket.size}, options), at::zeros({bucket.size}, options), {}};
    for (const Segment& s : bucket.segments) {
      Member& member = members_[next++];
      at::Tensor& value = member.parameter.value;
      at::Tensor home = t.value.narrow(0, s.offset, s.size).view(value.sizes());
      home.copy_(value);
      value.set_data(home);
      member.gradient = t.gradient.narrow(0, s.offset, s.size).view(value.sizes());
      value.mutable_grad() = member.gradient;
      member.bucket = bucket.index;
    }
    if (rounded) t.rounded = t.value.to(at::kBFloat16);
    tensors_.push_back(std::move(t));
  }
}

void ReducerBuffers::arm(std::function<void(int64_t)> ready) {
  missing_.clear();
  for (const Bucket& bucket : plan_.buckets)
    missing_.push_back(static_cast<int64_t>(bucket.segments.size()));
  for (Member& member : members_) member.done = false;
  ready_ = std::move(ready);
}

void ReducerBuffers::disarm() {
  ready_ = nullptr;
}

void ReducerBuffers::accumulated(size_t index) {
  Member& member = members_[index];
  const at::Tensor& gradient = member.parameter.value.grad();
  TERSE_CHECK(gradient.defined() && gradient.data_ptr() == member.gradient.data_ptr(),
              "the gradient of '{}' was replaced; it must stay a view of its bucket",
              member.parameter.name);
  if (!ready_) return;
  TERSE_CHECK(!member.done, "'{}' accumulated twice in the last micro-batch",
              member.parameter.name);
  member.done = true;
  if (--missing_[static_cast<size_t>(member.bucket)] == 0) ready_(member.bucket);
}

void ReducerBuffers::zero_gradients() {
  for (BucketTensors& t : tensors_) t.gradient.zero_();
}

at::Tensor ReducerBuffers::rounded(const std::string& name) const {
  for (const Bucket& bucket : plan_.buckets)
    for (const Segment& s : bucket.segments) {
      const at::Tensor& copy = tensors_[static_cast<size_t>(bucket.index)].rounded;
      if (s.name != name || !copy.defined()) continue;
      return copy.narrow(0, s.offset, s.size).view({s.rows, s.columns});
    }
  return {};
}

}  // namespace terse
