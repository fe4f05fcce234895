#include "comm/tensor_state.h"

#include <ATen/ATen.h>

#include <cstring>
#include <memory>

#include "base/error.h"

namespace terse {

DType dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return DType::f64;
    case at::kFloat:
      return DType::f32;
    case at::kHalf:
      return DType::f16;
    case at::kBFloat16:
      return DType::bf16;
    case at::kLong:
      return DType::i64;
    case at::kInt:
      return DType::i32;
    case at::kShort:
      return DType::i16;
    case at::kChar:
      return DType::i8;
    case at::kByte:
      return DType::u8;
    case at::kBool:
      return DType::boolean;
    default:
      fail(ExitCode::usage, "tensors of type {} cannot be saved; convert it to fp32",
           at::toString(tensor.scalar_type()));
  }
}

TensorView host_view(StateWriter& state, const at::Tensor& tensor) {
  auto host = std::make_shared<at::Tensor>(tensor.detach().to(at::kCPU).contiguous());
  state.keep(host);
  return {dtype_of(*host),
          host->sizes().vec(),
          {static_cast<const std::byte*>(host->const_data_ptr()), host->nbytes()}};
}

void load_tensor(const StateReader& state, const std::string& name, at::Tensor tensor) {
  const TensorView view =
      state.require(Scope::shared, name, dtype_of(tensor), tensor.sizes().vec());
  at::Tensor host =
      at::empty(tensor.sizes(), tensor.options().device(at::kCPU).requires_grad(false));
  if (!view.data.empty()) std::memcpy(host.mutable_data_ptr(), view.data.data(), view.data.size());
  tensor.detach().copy_(host);
}

}  // namespace terse
