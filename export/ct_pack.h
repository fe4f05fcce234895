// Internal: codes and scales as compressed-tensors stores them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace terse {

// Words of a packed row of `columns` codes.
constexpr int64_t ct_words(int64_t columns, int bits) {
  return (columns * bits + 31) / 32;
}

// pack_to_int32: a little-endian stream of `bits` = 1 to 8 bits a code, code + 2^(bits-1) at bits
// [i bits, (i + 1) bits) of its row; each row starts a 32-bit word, what is left of the last is 0.
// Codes lie in [-2^(bits-1), 2^(bits-1)). Appends rows * ct_words(columns, bits) words to `out`.
void ct_pack_rows(const int8_t* codes, int64_t rows, int64_t columns, int bits,
                  std::vector<std::byte>& out);

// E2M1 pairs: the even column in the low nibble; sign in bit 3. Codes are the doubled values.
// `columns` is even. Appends rows * columns / 2 bytes.
void ct_pack_fp4(const int8_t* codes, int64_t rows, int64_t columns, std::vector<std::byte>& out);

// Exact: `scale` is such a number.
std::byte ct_e4m3(float scale);
std::byte ct_e8m0(float scale);

}  // namespace terse
