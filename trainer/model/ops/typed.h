// Between tensors and the raw-pointer kernels.
#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/error.h"

namespace terse {

// The elements of a contiguous CPU tensor; bf16 as its bits.
template <typename T>
T* elements(const at::Tensor& t) {
  if constexpr (std::is_same_v<T, uint16_t>)
    return reinterpret_cast<uint16_t*>(t.data_ptr());
  else
    return t.data_ptr<T>();
}
template <typename T>
T* elements_or_null(const at::Tensor& t) {
  return t.defined() ? elements<T>(t) : nullptr;
}

// f(T{}) with the T that kernels use for this compute type.
template <typename F>
void for_compute_type(at::ScalarType type, F f) {
  if (type == at::kBFloat16) return f(uint16_t{});
  TERSE_CHECK(type == at::kFloat, "compute type {} is neither float nor bfloat16",
              static_cast<int>(type));
  f(float{});
}

// Rows that one task handles: about 64 KiB of fp32, so that small tensors stay on one thread.
inline int64_t row_grain(int64_t width) {
  return std::max<int64_t>(1, 16384 / width);
}

}  // namespace terse
