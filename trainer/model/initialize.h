// Initial weights, a function of (seed, name, index) alone.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace terse {

// fp32 normal deviates N(0, deviation): a counter-based generator (SplitMix64 over the element's
// number, keyed by seed and name) and Box-Muller in fp64. The same on every rank and thread count.
at::Tensor normal_weights(at::IntArrayRef shape, double deviation, uint64_t seed,
                          std::string_view name);

}  // namespace terse
