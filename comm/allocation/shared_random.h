// Random numbers that every rank draws alike, whatever its processor and mathematical library:
// integers and exact fp32 arithmetic only.
#pragma once
#include <cstdint>

namespace terse {

// splitmix64's finalizer.
inline uint64_t mix(uint64_t h) {
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
  return h ^ (h >> 31);
}

// The i-th number of a stream: mean 0, variance 1, near gaussian: a sum of four uniform
// 16-bit numbers, within +-3.4642.
inline float shared_normal(uint64_t stream, uint64_t i) {
  const uint64_t h = mix(mix(stream + 0x9e3779b97f4a7c15u) + i * 0x9e3779b97f4a7c15u);
  const auto sum =
      static_cast<int32_t>((h & 0xffff) + (h >> 16 & 0xffff) + (h >> 32 & 0xffff) + (h >> 48)) -
      131070;
  constexpr float kScale = 2.6428998e-5f;  // sqrt(3) / 65536
  return static_cast<float>(sum) * kScale;
}

}  // namespace terse
