// Codes of at most four bits, two a byte: what a step keeps of them (the wire and files have
// layouts of their own). Byte i of a row holds columns 2 i, in its low half, and 2 i + 1; an odd
// last one has a byte of its own. Free of torch.
#pragma once
#include <cstdint>

#include "qat/codes.h"

namespace terse {

// How a code becomes four bits: as two's complement, or, for the doubled E2M1 values of grid "fp4",
// as sign and place among 0, 1, 2, 3, 4, 6, 8, 12. none: it does not.
enum class Nibble : uint8_t { none, integer, fp4 };
Nibble nibble_of(const CodeFormat& format);

constexpr int64_t nibble_stride(int64_t columns) {  // bytes of a row
  return (columns + 1) / 2;
}

// Of codes [rows, columns]; `kind` is not none.
void pack_nibbles(Nibble kind, const int8_t* codes, int64_t rows, int64_t columns, uint8_t* out);
void unpack_nibbles(Nibble kind, const uint8_t* in, int64_t rows, int64_t columns, int8_t* codes);

}  // namespace terse
