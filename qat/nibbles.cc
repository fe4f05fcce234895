#include "qat/nibbles.h"

#include "base/isa.h"
#include "qat/kernels/nibbles.h"

namespace terse {

Nibble nibble_of(const CodeFormat& format) {
  if (format.grid == "fp4") return Nibble::fp4;
  return format.code_min >= -8 && format.code_max <= 7 ? Nibble::integer : Nibble::none;
}

void pack_nibbles(Nibble kind, const int8_t* codes, int64_t rows, int64_t columns, uint8_t* out) {
  for (int64_t r = 0; r < rows; ++r)
    TERSE_DISPATCH(pack_nibble_row(kind == Nibble::fp4, codes + r * columns, columns,
                                   out + r * nibble_stride(columns)));
}

void unpack_nibbles(Nibble kind, const uint8_t* in, int64_t rows, int64_t columns, int8_t* codes) {
  for (int64_t r = 0; r < rows; ++r)
    TERSE_DISPATCH(unpack_nibble_row(kind == Nibble::fp4, in + r * nibble_stride(columns), columns,
                                     codes + r * columns));
}

}  // namespace terse
