// The sixteen bits of an AVX-512 mask as a number. Only for files compiled with AVX-512.
//
// g++ 12 spills a mask that was widened to 32 bits with a two-byte store (kmovw to memory) and
// reads four bytes back: under register pressure the upper half is what lay there before. The
// thread sanitizer's build of topk.cc, whose calls make such pressure, chose elements twice. The
// instruction written by hand widens in a register.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace terse {

static inline uint32_t mask_bits(__mmask16 mask) {
  uint32_t bits;
  asm("kmovw %1, %0" : "=r"(bits) : "k"(mask));
  return bits;
}

}  // namespace terse
