// For kernel files: fp32 to bf16 without a call.
#pragma once
#include <bit>
#include <cstdint>

namespace terse::TERSE_ISA {
namespace {

// Rounds to nearest even; NaN stays NaN.
void round_bf16(const float* p, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(p[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    out[i] = static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
  }
}

}  // namespace
}  // namespace terse::TERSE_ISA
