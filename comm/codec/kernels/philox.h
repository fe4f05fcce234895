// Philox 4x32-10, the counter-based generator of Salmon et al. (SC 2011, "Parallel random numbers:
// as easy as 1, 2, 3"): four random words are a function of a counter and a key alone, so what an
// element is given depends on neither threads nor vector width. For C++ and CUDA.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define TERSE_ANYWHERE __host__ __device__
#else
#define TERSE_ANYWHERE
#endif

namespace terse {

// Everything but the first word of the counter.
struct PhiloxStream {
  uint32_t key[2] = {0, 0};
  uint32_t counter[3] = {0, 0, 0};
};

// Ten rounds on kLanes counters side by side, in place. Static: each instruction set has its own.
template <int kLanes>
TERSE_ANYWHERE static inline void philox4x32(uint32_t (&c)[4][kLanes], const uint32_t (&key)[2]) {
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    for (int l = 0; l < kLanes; ++l) {
      const uint64_t even = uint64_t{0xd2511f53} * c[0][l];
      const uint64_t odd = uint64_t{0xcd9e8d57} * c[2][l];
      c[0][l] = static_cast<uint32_t>(odd >> 32) ^ c[1][l] ^ k0;
      c[2][l] = static_cast<uint32_t>(even >> 32) ^ c[3][l] ^ k1;
      c[1][l] = static_cast<uint32_t>(odd);
      c[3][l] = static_cast<uint32_t>(even);
    }
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
}

// A uniform number from [0, 1): 24 bits, exact in fp32.
TERSE_ANYWHERE static inline float uniform_from_bits(uint32_t bits) {
  return static_cast<float>(static_cast<int32_t>(bits >> 8)) * 0x1p-24f;
}

}  // namespace terse
