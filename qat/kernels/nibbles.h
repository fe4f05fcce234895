// The entry points of every instruction set.
#pragma once
#include <cstdint>

#define TERSE_NIBBLE_KERNELS(isa)                                                      \
  namespace isa {                                                                      \
  void pack_nibble_row(bool fp4, const int8_t* codes, int64_t columns, uint8_t* out);  \
  void unpack_nibble_row(bool fp4, const uint8_t* in, int64_t columns, int8_t* codes); \
  }

namespace terse {
TERSE_NIBBLE_KERNELS(scalar)
TERSE_NIBBLE_KERNELS(avx2)
TERSE_NIBBLE_KERNELS(avx512)
}  // namespace terse
