#include "parallel/module_tensors.h"

#include <fmt/format.h>

#include <set>

#include "base/error.h"

namespace terse {
namespace {

// Why the parameter cannot be trained, or "".
std::string fault_of(const at::Tensor& value) {
  if (value.scalar_type() != at::kFloat)
    return fmt::format("is {}; weights are trained in fp32: call model->to(torch::kFloat) first",
                       at::toString(value.scalar_type()));
  if (!value.is_leaf())
    return "was computed from other tensors; register_parameter() its .detach()";
  if (value.layout() != at::kStrided) return "is sparse; only dense parameters can be trained";
  return "";
}

}  // namespace

ModuleTensors tensors_of(const torch::nn::Module& model) {
  ModuleTensors found;
  std::set<const void*> seen;
  std::string problems;
  bool first = true;
  const auto fresh = [&](const std::string& name, const at::Tensor& tensor) {
    if (!tensor.defined() || !seen.insert(tensor.unsafeGetTensorImpl()).second) return false;
    if (first) found.device = tensor.device();
    first = false;
    if (tensor.device() != found.device)
      problems += fmt::format("\n  {}: is on {}, others are on {}", name, tensor.device().str(),
                              found.device.str());
    return true;
  };
  for (const auto& item : model.named_parameters()) {
    if (!fresh(item.key(), item.value())) continue;
    if (!item.value().requires_grad()) {
      found.frozen.push_back({item.key(), item.value()});
      continue;
    }
    const std::string fault = fault_of(item.value());
    if (!fault.empty()) problems += fmt::format("\n  {}: {}", item.key(), fault);
    found.trainable.push_back({item.key(), item.value(), item.value().dim() >= 2});
  }
  for (const auto& item : model.named_buffers())
    if (fresh(item.key(), item.value())) found.buffers.push_back({item.key(), item.value()});
  if (!problems.empty())
    fail(ExitCode::usage, "module {} cannot be trained:{}", model.name(), problems);
  if (found.trainable.empty())
    fail(ExitCode::usage, "module {} has no parameter that requires a gradient", model.name());
  return found;
}

}  // namespace terse
