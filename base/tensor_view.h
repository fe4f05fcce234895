// Element types and borrowed tensors: what files, state dictionaries and engines exchange.
// Free of torch, so that file readers never link it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace terse {

// The order is part of no file format; files use `dtype_name`.
// f8_e4m3: 4 bits of exponent, 3 of mantissa, no infinities.
enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean, f8_e4m3 };

int64_t dtype_size(DType dtype);           // bytes of one element
std::string_view dtype_name(DType dtype);  // safetensors' spelling: "F32", "BF16", ...
bool dtype_parse(std::string_view name, DType& out);

// Row-major, contiguous, borrowed: valid as long as its owner says.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;

  int64_t numel() const;
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }
};

template <typename T>
std::span<const std::byte> bytes_of(const T* data, int64_t count) {
  return {reinterpret_cast<const std::byte*>(data), static_cast<size_t>(count) * sizeof(T)};
}

}  // namespace terse
