// The entry points of every instruction set: one row each. The callers' headers say what they do
// (export/rans.h, export/byte_planes.h, export/nm_matmul.h).
#pragma once
#include <cstddef>
#include <cstdint>

#define TERSE_EXPORT_KERNELS(isa)                                                                  \
  namespace isa {                                                                                  \
  int64_t rans_decode(const uint32_t* table, uint32_t* states, const uint16_t** words,             \
                      const uint16_t* end, int64_t steps, uint8_t* out);                           \
  void rans_encode(const RansSymbols& symbols, const uint8_t* in, int64_t count, uint32_t* states, \
                   uint16_t** words);                                                              \
  void split_planes(const std::byte* in, int width, bool rotated, int64_t count, uint8_t* out,     \
                    int64_t stride);                                                               \
  void merge_planes(const uint8_t* in, int64_t stride, int width, bool rotated, int64_t count,     \
                    std::byte* out);                                                               \
  void nm_product(const float* values, const uint16_t* positions, int64_t groups, int64_t keep,    \
                  int64_t of, const float* x, float* sums);                                        \
  }

namespace terse {

// Floor of x / frequency is the upper half of x times `magic`, shifted right by `shift` (Granlund
// and Montgomery 1994): for frequencies from 2 to kMostOften, and x < 2^20 frequency, which is all
// that a coder holds when it takes the symbol. Beyond, `magic` would need a 33rd bit: 2,964 is the
// first frequency that goes wrong.
struct RansQuotient {
  static constexpr uint32_t kMostOften = 2895;
  uint32_t magic, shift;
};
constexpr RansQuotient rans_quotient(uint32_t frequency) {
  uint32_t bits = 1;  // 2^bits >= frequency
  while ((1u << bits) < frequency) ++bits;
  const uint64_t magic = ((uint64_t{1} << (bits + 31)) + frequency - 1) / frequency;
  return {static_cast<uint32_t>(magic), bits - 1};
}

// What encoding needs of each symbol.
struct RansSymbols {
  // A little above 1 / frequency: x < 2^20 frequency times this, cut to an integer, is x /
  // frequency.
  alignas(64) double reciprocal[256];
  alignas(64) uint32_t slots[256];  // the first slot, and the frequency (1 to 4095) << 16

  // The same where at most kFew symbols occur, none above RansQuotient::kMostOften: tables that fit
  // in registers. few == 0: no such tables.
  static constexpr int kFew = 32;
  int few = 0;
  alignas(64) uint8_t place[256];    // of a symbol in the tables
  alignas(64) uint32_t magic[kFew];  // of RansQuotient
  // What is added (the first slot; 4095 more where the frequency is 1, whose quotient is one
  // short), the frequency << 13, the shift << 25.
  alignas(64) uint32_t packed[kFew];
};

TERSE_EXPORT_KERNELS(scalar)
TERSE_EXPORT_KERNELS(avx2)
TERSE_EXPORT_KERNELS(avx512)
}  // namespace terse
