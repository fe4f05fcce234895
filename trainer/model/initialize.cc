#include "trainer/model/initialize.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <numbers>

#include "base/checksum.h"

namespace terse {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): number `index` of the stream that starts at `key`.
uint64_t random_bits(uint64_t key, uint64_t index) {
  uint64_t z = key + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// In (0, 1].
double uniform(uint64_t bits) {
  return static_cast<double>((bits >> 11) + 1) * 0x1p-53;
}

}  // namespace

at::Tensor normal_weights(at::IntArrayRef shape, double deviation, uint64_t seed,
                          std::string_view name) {
  const uint64_t key = checksum(std::as_bytes(std::span(name)), seed);
  const at::Tensor weights = at::empty(shape, at::kFloat);
  float* out = weights.data_ptr<float>();
  const int64_t n = weights.numel();
  at::parallel_for(0, (n + 1) / 2, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const auto i = static_cast<uint64_t>(2 * pair);
      const double radius = deviation * std::sqrt(-2.0 * std::log(uniform(random_bits(key, i))));
      const double angle = 2.0 * std::numbers::pi * uniform(random_bits(key, i + 1));
      out[2 * pair] = static_cast<float>(radius * std::cos(angle));
      if (2 * pair + 1 < n) out[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
  });
  return weights;
}

}  // namespace terse
