// Codes::decode by its definition: the kernels behind the real one are tested elsewhere, and would
// have to be compiled once more for clang.
#include "qat/codes.h"

namespace terse {

void Codes::decode(float* out) const {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const auto i = static_cast<size_t>(r * columns + c);
      out[i] = ((static_cast<float>(codes[i]) + format.offset) * format.unit) *
               (scale_at(r, c) * tensor_scale);
    }
}

}  // namespace terse
