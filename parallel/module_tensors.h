// The tensors of a torch::nn::Module as DataParallel uses them.
#pragma once
#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "comm/parameter.h"

namespace terse {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

struct ModuleTensors {
  std::vector<Parameter> trainable;  // in the order of registration, each once
  std::vector<NamedTensor> frozen;   // parameters that want no gradient
  std::vector<NamedTensor> buffers;
  at::Device device = at::kCPU;  // of all of them
};

// Error(usage) that lists every tensor that cannot be trained: not fp32, not a leaf, on another
// device than the first; or a module without trainable parameters.
ModuleTensors tensors_of(const torch::nn::Module& model);

}  // namespace terse
