#include "qat/masked.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "qat/mask_tensors.h"
#include "qat/tensors.h"

namespace terse {
namespace {

at::Tensor rotated_weight(const at::Tensor& in, int64_t hadamard) {
  at::Tensor out = at::empty_like(in);
  rotate_tensor(in, {}, hadamard, out);
  return out;
}

}  // namespace

Masked::Masked(std::string name, const LayerMask& mask, std::unique_ptr<Representation> inner)
    : name_(std::move(name)),
      plan_(mask),
      inner_(std::move(inner)),
      state_(plan_.schedule.served()) {}

void Masked::set_step(int64_t taken) {
  taken_ = taken;
  state_ = plan_.schedule.at(taken);
}

at::Tensor Masked::stored(const at::Tensor& weight) const {
  return hadamard() == 0 ? weight : rotated_weight(weight, hadamard());
}

void Masked::encode(const at::Tensor& weight, const at::Tensor& decoded) {
  weight_ = weight;
  pulled_ = false;
  mask_ = at::Tensor();
  if (inner_) inner_->encode(weight, decoded);
  if (!state_.masked) {
    if (!inner_) decoded.copy_(weight);
    note_change();
    return;
  }
  mask_ = select_mask_tensor(state_.pattern, stored(weight));
  if (!mask_.defined())
    fail(ExitCode::non_finite, "the weight of layer '{}' holds NaN or infinity", name_);
  note_change();
  blend_tensor(inner_ ? decoded : weight, mask_, static_cast<float>(state_.beta), decoded);
}

void Masked::note_change() {
  if (taken_ == kServed) return;
  changed_ = 0;
  if (mask_.defined() && trained_.defined()) {
    const at::Tensor now = mask_.cpu(), before = trained_.cpu();
    changed_ = count_different(now.const_data_ptr<uint8_t>(), before.const_data_ptr<uint8_t>(),
                               weight_.size(0), weight_.size(1));
  }
  trained_ = mask_;
}

void Masked::adopt(const Codes& given, const at::Tensor& decoded) {
  TERSE_CHECK(inner_, "{} has no codes", name_);
  given.validate(name_);
  if (given.mask.empty())
    fail(ExitCode::invalid_file, "layer '{}' has a mask, the given codes have none", name_);
  Codes all = given;
  all.format.pattern.clear();
  all.mask.clear();
  inner_->adopt(all, decoded);
  state_ = {Stage::fine, true, parse_pattern(given.format.pattern), 0.0};
  mask_ = at::empty({given.rows, mask_stride(given.columns)}, at::kByte);
  std::copy(given.mask.begin(), given.mask.end(), mask_.data_ptr<uint8_t>());
  mask_ = mask_.to(decoded.device());
  blend_tensor(decoded, mask_, 0.0f, decoded);
}

Codes Masked::codes() const {
  TERSE_CHECK(inner_ && mask_.defined() && state_.stage == Stage::fine,
              "{}: codes of a weight that was not encoded as served", name_);
  Codes codes = inner_->codes();
  const at::Tensor bits = mask_.cpu();
  const uint8_t* first = bits.const_data_ptr<uint8_t>();
  codes.set_mask(to_string(state_.pattern), {first, first + bits.numel()});
  return codes;
}

at::Tensor Masked::decode() const {
  TERSE_CHECK(inner_, "{} has no codes", name_);
  if (!mask_.defined() || state_.stage != Stage::fine) {
    at::Tensor out = inner_->decode();
    if (mask_.defined()) blend_tensor(out, mask_, static_cast<float>(state_.beta), out);
    return out;
  }
  const Codes made = codes();
  at::Tensor out = at::empty({made.rows, made.columns}, at::kFloat);
  made.decode(out.data_ptr<float>());
  return out.to(mask_.device());
}

std::vector<LearnedTensor> Masked::parameters() {
  return inner_ ? inner_->parameters() : std::vector<LearnedTensor>{};
}

bool Masked::passes_gradient() const {
  return !inner_ && (plan_.flow != GradientFlow::hard || !mask_.defined());
}

RepresentationGradients Masked::backward(const at::Tensor& d_decoded) {
  at::Tensor flowing = d_decoded;
  if (plan_.flow == GradientFlow::hard && mask_.defined()) {
    flowing = at::empty_like(d_decoded);
    blend_tensor(d_decoded.contiguous(), mask_, 0.0f, flowing);
  }
  RepresentationGradients gradients;
  if (inner_)
    gradients = inner_->backward(flowing);
  else
    gradients.weight = flowing.to(at::kFloat);
  if (!gradients.parameters.empty() && mask_.defined()) {
    at::Tensor through = at::empty_like(d_decoded);
    blend_tensor(d_decoded.contiguous(), mask_, static_cast<float>(state_.beta), through);
    gradients.parameters = inner_->backward(through).parameters;
  }
  pull(gradients.weight);
  return gradients;
}

// factor (1 - m) z, back in the weight's space.
void Masked::add_pruned(const at::Tensor& weight, double factor, const at::Tensor& to) const {
  const auto by = static_cast<float>(factor);
  if (hadamard() == 0) return add_pruned_tensor(weight, mask_, by, to);
  at::Tensor pruned = at::zeros_like(weight);
  add_pruned_tensor(stored(weight), mask_, by, pruned);
  to.add_(rotated_weight(pruned, hadamard()));
}

void Masked::pull(const at::Tensor& gradient) {
  if (plan_.flow != GradientFlow::srste || pulled_ || !mask_.defined()) return;
  pulled_ = true;
  add_pruned(weight_, plan_.lambda, gradient);
}

void Masked::after_step(double learning_rate, const at::Tensor& weight) const {
  if (plan_.flow != GradientFlow::srste_decoupled || !mask_.defined()) return;
  add_pruned(weight, -learning_rate * plan_.lambda, weight);
}

}  // namespace terse
