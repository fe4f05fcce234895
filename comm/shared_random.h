// Random numbers that every rank draws alike, whatever its processor and mathematical library:
// integers and exact fp32 arithmetic only. Free of torch.
#pragma once
#include <cstdint>

namespace terse {

// splitmix64 (Steele, Lea, Flood 2014): a bijection that scatters its input.
inline uint64_t scatter(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Uniform in (-1, 1): an odd multiple of 2^-24, from (seed, i) alone.
inline float shared_uniform(uint64_t seed, uint64_t i) {
  const auto bits = static_cast<int32_t>(scatter(seed + i) >> 40);
  return static_cast<float>(2 * bits + 1 - (1 << 24)) * 0x1p-24f;
}

}  // namespace terse
