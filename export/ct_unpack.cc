#include "export/ct_unpack.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace terse {
namespace {

// Spreads eight codes that lie side by side in `bits` bytes to a byte each: halves of four codes
// move apart, then pairs, then single ones.
template <int bits>
uint64_t spread(uint64_t x) {
  constexpr uint64_t kFour = (uint64_t{1} << 4 * bits) - 1;
  constexpr uint64_t kTwo = ((uint64_t{1} << 2 * bits) - 1) * 0x0000000100000001u;
  constexpr uint64_t kOne = ((uint64_t{1} << bits) - 1) * 0x0001000100010001u;
  x = (x & kFour) | ((x & (kFour << 4 * bits)) << (32 - 4 * bits));
  x = (x & kTwo) | ((x & (kTwo << 2 * bits)) << (16 - 2 * bits));
  return (x & kOne) | ((x & (kOne << bits)) << (8 - bits));
}

// Bytes in [0, 2^bits) less 2^(bits-1): adding cannot carry from one byte into the next when the
// top bit of each is set before and cleared again by exclusive or.
uint64_t centred(uint64_t bytes, int bits) {
  constexpr uint64_t kOnes = 0x0101010101010101u;
  const uint64_t half = kOnes << (bits - 1);
  return ((bytes | (kOnes << 7)) - half) ^ (kOnes << 7);
}

template <int bits>
void unpack(const uint8_t* bytes, int64_t columns, int8_t* out) {
  int64_t c = 0;
  for (; c + 8 <= columns; c += 8, bytes += bits) {
    uint64_t packed = 0;
    std::memcpy(&packed, bytes, bits);
    uint64_t codes = spread<bits>(packed);
    codes = bits == 8 ? codes ^ 0x8080808080808080u : centred(codes, bits);
    std::memcpy(out + c, &codes, sizeof codes);
  }
  if (c == columns) return;
  uint64_t packed = 0;
  std::memcpy(&packed, bytes, static_cast<size_t>(((columns - c) * bits + 7) / 8));
  for (; c < columns; ++c, packed >>= bits)
    out[c] = static_cast<int8_t>(static_cast<int>(packed & ((1u << bits) - 1)) - (1 << (bits - 1)));
}

using Unpack = void (*)(const uint8_t*, int64_t, int8_t*);
constexpr std::array<Unpack, 8> kUnpack = {unpack<1>, unpack<2>, unpack<3>, unpack<4>,
                                           unpack<5>, unpack<6>, unpack<7>, unpack<8>};

}  // namespace

void ct_unpack_row(const uint32_t* words, int64_t columns, int bits, int8_t* out) {
  kUnpack[static_cast<size_t>(bits - 1)](reinterpret_cast<const uint8_t*>(words), columns, out);
}

void ct_unpack_fp4(const uint8_t* bytes, int64_t count, int8_t* out) {
  constexpr std::array<int8_t, 16> kValues = {0, 1,  2,  3,  4,  6,  8,  12,
                                              0, -1, -2, -3, -4, -6, -8, -12};
  for (int64_t i = 0; i < count; ++i)
    out[i] = kValues[static_cast<size_t>(bytes[i / 2] >> (i % 2 * 4) & 15)];
}

float ct_scale_of_e4m3(uint8_t byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  if ((byte & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                   : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (byte & 0x80) != 0 ? -size : size;
}

float ct_scale_of_e8m0(uint8_t byte) {
  if (byte == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::ldexp(1.0f, byte - 127);
}

}  // namespace terse
