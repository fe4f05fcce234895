// The types that engine files store scales in. Scales are rounded to them inside the forward pass.
// Free of torch.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace terse {

enum class ScaleType : uint8_t {
  f32,
  f16,
  bf16,
  f16_7bit,  // fp16 with 7 significant bits, at most 8704: 7.5 times it is exact in fp16, as the
             // minimum of GGUF Q4_1 under a half-integer grid must be
  e8m0,      // powers of two from 2^-127 to 2^127: MXFP4
  e4m3,      // positive numbers of 4 significant bits, at most 448: blocks of NVFP4, which have a
             // second scale, Codes::tensor_scale
};

// "f32", "f16", "bf16", "f16_7bit", "e8m0", "e4m3"; the second undoes the first.
const char* to_string(ScaleType type);
std::optional<ScaleType> parse_scale_type(const std::string& name);

// What a file spends on one scale; Q4_1 also stores the minimum.
int scale_bits(ScaleType type);
// The least number with all significant bits; e8m0: 2^-126, so that fp32 need not be subnormal. No
// encoder stores a smaller scale: it would lose digits, or vanish where engines flush to zero.
float smallest_normal(ScaleType type);
float largest_scale(ScaleType type);
// Nearest, ties to even (e8m0: in value, not in exponent), at least the smallest normal number;
// infinite beyond largest_scale(), NaN of NaN. For scales above 0.
float round_scale(float scale, ScaleType type);
// Whether a file can hold this scale exactly: of f32, f16 and bf16 also negative ones; 0 and
// subnormal numbers where the type has them.
bool representable(float scale, ScaleType type);

}  // namespace terse
