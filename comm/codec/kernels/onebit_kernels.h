// Kernels of the 1-bit codec on one piece of a bucket: elements [begin, end) of the arrays. Word w
// of `words` and `live` holds elements 64 w to 64 w + 63, least significant bit first. One thread.
#pragma once
#include <cstdint>

#include "comm/codec/kernels/arrays.h"

namespace terse {

struct PieceSum {
  double sum = 0;     // of |x|, or of x * x
  int64_t count = 0;  // of live elements
};

#define TERSE_ONEBIT_KERNELS(isa)                                                                  \
  namespace isa {                                                                                  \
  /* Lane l of 64 adds elements l, l + 64, ... of the array in fp32; lanes are added as a tree. */ \
  PieceSum onebit_sum(const CodecArrays& arrays, int64_t begin, int64_t end, bool squares);        \
  /* Sets the piece's bits (others of its words are kept, bits before a word's first piece are     \
     cleared) and shadow = x - (x >= 0 ? scale : -scale). */                                       \
  void onebit_pack(const CodecArrays& arrays, int64_t begin, int64_t end, float scale,             \
                   uint64_t* words);                                                               \
  /* out = +-scale, 0 where dead; with `add`, out += that. */                                      \
  void onebit_unpack(const uint64_t* words, const uint64_t* live, int64_t begin, int64_t end,      \
                     float scale, bool add, float* out);                                           \
  }
TERSE_ONEBIT_KERNELS(scalar)
TERSE_ONEBIT_KERNELS(avx2)
TERSE_ONEBIT_KERNELS(avx512)
#undef TERSE_ONEBIT_KERNELS

}  // namespace terse
