#include "qat/learned_step.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "base/error.h"
#include "qat/tensors.h"

namespace terse {
namespace {

int64_t elements_of_group(const CodeFormat& format, int64_t rows, int64_t columns) {
  if (format.group < 0) return rows * columns;
  return format.group == 0 ? columns : format.group;
}

// In the stored space.
at::Tensor rotated(const at::Tensor& values, int64_t hadamard) {
  at::Tensor out = at::empty(values.sizes(), values.options().dtype(at::kFloat));
  rotate_tensor(values.contiguous(), {}, hadamard, out);
  return out;
}

// In the order of the rows, on any number of threads.
at::Tensor total(const at::Tensor& sums) {
  const double* p = sums.const_data_ptr<double>();
  double all = 0;
  for (int64_t i = 0; i < sums.numel(); ++i) all += p[i];
  return at::full({1}, all, at::kDouble);
}

}  // namespace

LearnedStep::LearnedStep(const CodeFormat& format, int64_t count, int64_t shared, at::Device device)
    : format_(format),
      gradient_scale_(lsq_gradient_scale(format, shared)),
      log_(at::zeros({count}, at::TensorOptions(device).dtype(at::kFloat)).requires_grad_()) {}

LearnedStep LearnedStep::of_weight(const CodeFormat& format, const at::Tensor& weight) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  const int64_t count = format.group < 0 ? 1 : rows * groups_of(format, columns);
  LearnedStep step(format, count, elements_of_group(format, rows, columns), weight.device());
  step.start(weight.detach());
  return step;
}

LearnedStep LearnedStep::of_input(const CodeFormat& format, int64_t columns, at::Device device) {
  TERSE_CHECK(format.group < 0, "one step for all tokens");
  return {format, 1, columns, device};
}

void LearnedStep::start(const at::Tensor& values) {
  const at::NoGradGuard no_grad;
  const at::Tensor z = rotated(values, format_.hadamard).cpu();
  const std::vector<double> steps =
      lsq_start(format_, z.const_data_ptr<float>(), z.size(0), z.size(1));
  at::Tensor logs = at::empty({log_.numel()}, at::kFloat);
  TERSE_CHECK(static_cast<int64_t>(steps.size()) == logs.numel(), "{} steps for {}", steps.size(),
              logs.numel());
  float* to = logs.mutable_data_ptr<float>();
  for (size_t i = 0; i < steps.size(); ++i) to[i] = static_cast<float>(std::log(steps[i]));
  log_.copy_(logs);
}

void LearnedStep::fix(float scale) {
  TERSE_CHECK(log_.numel() == 1, "{} steps", log_.numel());
  scales_ = at::full({1}, scale, log_.options().requires_grad(false));
  fixed_ = true;
}

void LearnedStep::refresh(const std::string& layer) {
  if (fixed_) return;
  const at::Tensor logs = log_.detach().cpu().contiguous();
  at::Tensor scales = at::empty({logs.numel()}, at::kFloat);
  const float* from = logs.const_data_ptr<float>();
  float* to = scales.mutable_data_ptr<float>();
  for (int64_t i = 0; i < logs.numel(); ++i) {
    to[i] = lsq_scale(from[i], format_.scale_type);
    if (!std::isfinite(to[i]))
      fail(ExitCode::non_finite, "layer '{}': the learned step {} is exp({}), which {} cannot hold",
           layer, i, from[i], to_string(format_.scale_type));
  }
  scales_ = scales.to(log_.device());
}

at::Tensor LearnedStep::gradient(const at::Tensor& values, const at::Tensor& codes,
                                 const at::Tensor& mask, const at::Tensor& d) const {
  const at::Tensor sums =
      step_gradient_tensor(format_, {codes, scales_, mask, {}}, values, d).cpu().to(at::kDouble);
  const at::Tensor ds = log_.numel() == sums.numel() ? sums : total(sums);
  return (ds * gradient_scale_ / scales_.cpu()).to(log_.device(), at::kFloat);
}

}  // namespace terse
