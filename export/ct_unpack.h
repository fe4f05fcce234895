// Internal: codes out of compressed-tensors' layouts, by code of its own: it shares none with
// ct_pack.h. Callers have checked sizes.
#pragma once
#include <cstdint>

namespace terse {

// A row of `columns` signed codes out of its words: code i is the `bits` = 1 to 8 bits from bit
// i * bits on, less 2^(bits-1). `words` holds ceil(columns bits / 32) of them.
void ct_unpack_row(const uint32_t* words, int64_t columns, int bits, int8_t* out);

// Doubled E2M1 values out of nibbles, two a byte, the low one first.
void ct_unpack_fp4(const uint8_t* bytes, int64_t count, int8_t* out);

// Readers' meaning of a scale's byte; NaN where it has none.
float ct_scale_of_e4m3(uint8_t byte);
float ct_scale_of_e8m0(uint8_t byte);

}  // namespace terse
