// Kernels of the top-k codec on elements [begin, end) of a bucket's arrays, all of which begin at
// element 0 of the bucket. Null pointers as in EncodeInput. A magnitude is the bits of |x|,
// compared as an integer. One thread.
//
// A key holds all there is to know of a candidate; keys in descending order are magnitudes in
// descending order, equal ones by ascending index:
//   magnitude << 32 | (0x7fffffff - index) << 1 | sign        index < 2^31
#pragma once
#include <cstdint>

#include "comm/codec/kernels/arrays.h"

namespace terse {

#define TERSE_TOPK_KERNELS(isa)                                                                   \
  namespace isa {                                                                                 \
  /* shadow = x, 0 where dead; maxima[w - begin / 64] = the largest magnitude among word w's live \
     elements inside [begin, end). */                                                             \
  void topk_scan(const CodecArrays& arrays, int64_t begin, int64_t end, int32_t* maxima);         \
  /* Appends the keys of live elements with magnitude >= threshold, in order, looking only into   \
     words whose maximum says so; maxima[0] is that of word begin / 64. Stops where fewer than 64 \
     keys have room. Returns where it stopped; *count grows. */                                   \
  int64_t topk_collect(const CodecArrays& arrays, int64_t begin, int64_t end,                     \
                       const int32_t* maxima, int32_t threshold, uint64_t* keys, int64_t room,    \
                       int64_t* count);                                                           \
  /* out = factor * sum, written past the cache. */                                               \
  void topk_store(const float* sum, int64_t n, float factor, float* out);                         \
  }
TERSE_TOPK_KERNELS(scalar)
TERSE_TOPK_KERNELS(avx2)
TERSE_TOPK_KERNELS(avx512)
#undef TERSE_TOPK_KERNELS

}  // namespace terse
