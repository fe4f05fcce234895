// Kernels of the b-bit codec. Elements [begin, end) of the arrays, one group's or a piece of it; a
// word of 64 elements has `bits` words of codes: code i in bits [i bits, (i + 1) bits) from the
// first word's least significant bit on, zero outside the range and where dead. One thread.
#pragma once
#include <cstdint>

#include "comm/codec/bits_grid.h"
#include "comm/codec/kernels/arrays.h"

namespace terse {

#define TERSE_BITS_KERNELS(isa)                                                                \
  namespace isa {                                                                              \
  /* Over the live elements; an empty extent if there is none. */                              \
  BitsExtent bits_extent(const CodecArrays& arrays, int64_t begin, int64_t end);               \
  /* Writes the codes of the words that [begin, end) touches, from `codes` on, and the shadow. \
     `noise`: stochastic rounding, null: nearest. */                                           \
  void bits_pack(const CodecArrays& arrays, int64_t begin, int64_t end, const BitsGrid& grid,  \
                 const PhiloxStream* noise, uint64_t* codes);                                  \
  /* out = decoded, 0 where dead; with `add`, out += that. `codes` as above. */                \
  void bits_unpack(const uint64_t* codes, const uint64_t* live, int64_t begin, int64_t end,    \
                   const BitsGrid& grid, bool add, float* out);                                \
  }
TERSE_BITS_KERNELS(scalar)
TERSE_BITS_KERNELS(avx2)
TERSE_BITS_KERNELS(avx512)
#undef TERSE_BITS_KERNELS

}  // namespace terse
