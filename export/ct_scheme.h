// Internal: how Codes are stored in the compressed-tensors layout (transformers, vLLM).
//
// Readers decode q * scale on a grid of signed integers of 1 to 8 bits, or E2M1 (nvfp4, mxfp4).
// Codes on half integers, (code + 1/2) * scale, become 2 code + 1 of one bit more with half the
// scale.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "export/artifact.h"
#include "export/verdict.h"

namespace terse {

struct CtScheme {
  std::string format;    // "pack-quantized", "int-quantized", "nvfp4-..." or "mxfp4-pack-quantized"
  std::string strategy;  // "group", "channel" (a scale a row), "tensor_group" (NVFP4)
  int bits = 4;
  int64_t group = 0;  // columns a scale; 0 = a row
  std::string scale;  // safetensors' type of the scales
  // stored code = code * multiply + add, stored scale = scale / multiply
  int multiply = 1, add = 0;
  int64_t hadamard = 0;  // block of the rotation that the reader puts on the input
  int input_bits = 16;   // 16: the input is not rounded
  bool input_static = false;
  bool input_fp4 = false;  // in blocks as the weight's

  bool fp4() const { return format == "nvfp4-pack-quantized" || format == "mxfp4-pack-quantized"; }
  auto operator<=>(const CtScheme&) const = default;
};

// Whether readers can be told so of an input that is multiplied with such a weight: int_signed of 2
// to 8 bits by largest magnitude, or of one scale; nvfp4 or mxfp4 as both are.
bool ct_rounds(const CodeFormat& weight, const InputFormat& input);
// Whether the layout has a place for these Codes.
Fit ct_fit(const CodeFormat& format);
// Of a compressed weight that fits; without its input where readers cannot be told.
CtScheme ct_scheme(const ArtifactWeight& weight);
// "w4a16", "w8a8", "w4a4-hadamard"; "nvfp4" and "mxfp4" with inputs of their own kind, "nvfp4a16"
// and "mxfp4a16" without: the field's short names.
std::string ct_name(const CtScheme& scheme);
// Whether a weight that fits is of this name; of none: it may be anything.
bool ct_is(const ArtifactWeight& weight, const std::string& name);
// "train with [qat] ...", so that layers get this name.
std::string ct_training(const std::string& name);
// What such a name says of inputs; empty: nothing.
std::optional<InputFormat> ct_input(const std::string& name);

}  // namespace terse
