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

// What encoding needs of each symbol.
struct RansSymbols {
  // A little above 1 / frequency: x < 2^20 frequency (all that a coder holds when it takes the
  // symbol) times this, cut to an integer, is x / frequency.
  alignas(64) double reciprocal[256];
  alignas(64) uint32_t slots[256];  // the first slot, and the frequency (1 to 4095) << 16

  // The same where at most kFew symbols occur, none with a frequency above kMostOften: tables that
  // fit in registers. few == 0: no such tables.
  static constexpr int kFew = 32;
  static constexpr uint32_t kMostOften = 2895;
  int few = 0;
  alignas(64) uint8_t place[256];  // of a symbol in the tables
  // Floor of x / frequency is the upper half of x times this, shifted right by `packed` >> 25
  // (Granlund and Montgomery 1994, for x < 2^20 frequency): below kMostOften without a 33rd bit.
  alignas(64) uint32_t magic[kFew];
  // What is added (the first slot; 4095 more where the frequency is 1, whose quotient is one short),
  // the frequency << 13, the shift << 25.
  alignas(64) uint32_t packed[kFew];
};

TERSE_EXPORT_KERNELS(scalar)
TERSE_EXPORT_KERNELS(avx2)
TERSE_EXPORT_KERNELS(avx512)
}  // namespace terse
