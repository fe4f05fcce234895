#include "base/tensor_view.h"

#include <array>

namespace terse {
namespace {
struct Row {
  DType dtype;
  int64_t size;
  std::string_view name;
};
constexpr std::array<Row, 11> kRows = {{{DType::f64, 8, "F64"},
                                        {DType::f32, 4, "F32"},
                                        {DType::f16, 2, "F16"},
                                        {DType::bf16, 2, "BF16"},
                                        {DType::i64, 8, "I64"},
                                        {DType::i32, 4, "I32"},
                                        {DType::i16, 2, "I16"},
                                        {DType::i8, 1, "I8"},
                                        {DType::u8, 1, "U8"},
                                        {DType::boolean, 1, "BOOL"},
                                        {DType::f8_e4m3, 1, "F8_E4M3"}}};
}  // namespace

int64_t dtype_size(DType dtype) {
  return kRows[static_cast<size_t>(dtype)].size;
}
std::string_view dtype_name(DType dtype) {
  return kRows[static_cast<size_t>(dtype)].name;
}

bool dtype_parse(std::string_view name, DType& out) {
  for (const Row& row : kRows)
    if (row.name == name) {
      out = row.dtype;
      return true;
    }
  return false;
}

int64_t TensorView::numel() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

}  // namespace terse
