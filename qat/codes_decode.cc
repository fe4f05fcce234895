#include "qat/codes.h"
#include "qat/quantize.h"
#include "sparsity/mask.h"

namespace terse {

void Codes::decode(float* out) const {
  decode_rows({.codes = codes.data(),
               .scales = scales.data(),
               .rows = rows,
               .columns = columns,
               .group = format.group,
               .offset = format.offset,
               .unit = format.unit * tensor_scale},
              out, nullptr);
  if (!mask.empty() && format.offset != 0.0f)
    blend_rows({.f32 = out}, mask.data(), 0.0f, rows, columns, {.f32 = out});
}

}  // namespace terse
