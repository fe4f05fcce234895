// Loops over whole bytes that the compiler turns into vectors.
#include "qat/kernels/nibbles.h"

namespace terse::TERSE_ISA {
namespace {

struct Integer {
  static uint8_t pack(int8_t code) { return static_cast<uint8_t>(code & 15); }
  static int8_t unpack(uint8_t nibble) { return static_cast<int8_t>((nibble ^ 8) - 8); }
};

// Places 0 to 7 are the magnitudes 0, 1, 2, 3, 4, 6, 8, 12; bit 3 is the sign.
struct Fp4 {
  static uint8_t pack(int8_t code) {
    const int size = code < 0 ? -code : code;
    const int place = size - (size > 4) - (size > 6) - 3 * (size > 8);
    return static_cast<uint8_t>(code < 0 ? place | 8 : place);
  }
  static int8_t unpack(uint8_t nibble) {
    const int place = nibble & 7;
    const int size = place + (place > 4) + (place > 5) + 3 * (place > 6);
    return static_cast<int8_t>(nibble & 8 ? -size : size);
  }
};

template <typename Kind>
void pack(const int8_t* __restrict__ codes, int64_t columns, uint8_t* __restrict__ out) {
  for (int64_t i = 0; i < columns / 2; ++i)
    out[i] = static_cast<uint8_t>(Kind::pack(codes[2 * i]) | Kind::pack(codes[2 * i + 1]) << 4);
  if (columns % 2 != 0) out[columns / 2] = Kind::pack(codes[columns - 1]);
}

template <typename Kind>
void unpack(const uint8_t* __restrict__ in, int64_t columns, int8_t* __restrict__ codes) {
  for (int64_t i = 0; i < columns / 2; ++i) {
    codes[2 * i] = Kind::unpack(in[i] & 15);
    codes[2 * i + 1] = Kind::unpack(in[i] >> 4);
  }
  if (columns % 2 != 0) codes[columns - 1] = Kind::unpack(in[columns / 2] & 15);
}

}  // namespace

void pack_nibble_row(bool fp4, const int8_t* codes, int64_t columns, uint8_t* out) {
  fp4 ? pack<Fp4>(codes, columns, out) : pack<Integer>(codes, columns, out);
}

void unpack_nibble_row(bool fp4, const uint8_t* in, int64_t columns, int8_t* codes) {
  fp4 ? unpack<Fp4>(in, columns, codes) : unpack<Integer>(in, columns, codes);
}

}  // namespace terse::TERSE_ISA
