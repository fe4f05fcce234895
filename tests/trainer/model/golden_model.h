// A golden file of a whole model: weights ("weight.NAME"), a batch, and what another implementation
// made of them.
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <string>
#include <vector>

#include "export/safetensors.h"
#include "qat/options.h"
#include "trainer/model/model.h"

namespace terse::test {

class Golden {
 public:
  // golden/KIND.safetensors.
  explicit Golden(const std::string& kind)
      : file_(TERSE_SOURCE_DIR "/tests/trainer/model/golden/" + kind + ".safetensors") {}
  at::Tensor tensor(const std::string& name) const {
    const TensorView view = file_.require(name);
    const auto type = view.dtype == DType::i64 ? at::kLong : at::kFloat;
    return at::from_blob(const_cast<std::byte*>(view.data.data()), view.shape, type).clone();
  }

 private:
  SafetensorsFile file_;
};

// With the file's weights, nothing quantized.
template <typename Network, typename Options>
std::unique_ptr<Network> golden_model(const Golden& golden, const Options& options,
                                      at::ScalarType type) {
  ComputeOptions compute;
  compute.type = type;
  auto model = std::make_unique<Network>(options, QatOptions(), compute, 1);
  const at::NoGradGuard no_gradients;
  for (Parameter& p : model->parameters()) p.value.copy_(golden.tensor("weight." + p.name));
  model->refresh();
  return model;
}

struct Gradients {
  at::Tensor loss;
  std::vector<at::Tensor> all;  // of parameters()
};

inline Gradients gradients_of(Model& model, const at::Tensor& batch) {
  Gradients g{model.loss(batch), {}};
  g.loss.backward();
  for (const Parameter& p : model.parameters()) g.all.push_back(p.value.grad().clone());
  return g;
}

}  // namespace terse::test
