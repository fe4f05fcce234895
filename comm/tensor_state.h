// Tensors in state dictionaries (base/state.h), whatever their type and device.
#pragma once
#include <ATen/core/Tensor.h>

#include "base/state.h"
#include "base/tensor_view.h"

namespace terse {

// Error(usage) for a type that files do not have (complex, quantized).
DType dtype_of(const at::Tensor& tensor);

// The tensor's bytes on the host; what had to be copied there or made contiguous is kept alive by
// `state`.
TensorView host_view(StateWriter& state, const at::Tensor& tensor);

// Copies `NAME` of the shared state into `tensor`. Error(invalid_file) if it is missing, or of
// another type or shape.
void load_tensor(const StateReader& state, const std::string& name, at::Tensor tensor);

}  // namespace terse
