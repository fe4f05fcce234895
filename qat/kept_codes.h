// Codes as a training step keeps them between its passes: two a byte where the grid allows
// (qat/nibbles.h), else one. On a GPU always one.
#pragma once
#include <ATen/core/Tensor.h>

#include "qat/codes.h"

namespace terse {

struct KeptCodes {
  at::Tensor bytes;  // uint8 [rows, nibble_stride(columns)] or int8 [rows, columns]
  int64_t columns = 0;

  bool packed() const { return bytes.scalar_type() == at::kByte; }
  int64_t rows() const { return bytes.size(0); }
};

// Of int8 [rows, columns], contiguous; one a byte means the tensor itself.
KeptCodes keep_codes(const CodeFormat& format, const at::Tensor& codes);
// int8 [rows, columns] again.
at::Tensor unpack_codes(const CodeFormat& format, const KeptCodes& kept);
// Rows [begin, end) on the CPU: in `room`, for (end - begin) columns bytes, or where they lie.
const int8_t* code_rows(const CodeFormat& format, const KeptCodes& kept, int64_t begin, int64_t end,
                        int8_t* room);

}  // namespace terse
