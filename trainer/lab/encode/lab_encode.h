// `terse lab encode`: runs a target's quantizer on the tensors of a safetensors file and writes
// what it did, for comparison with any other implementation.
//
// Input: F32, BF16 or F16 tensors; the last dimension is the columns, the others are rows. Written
// for each tensor NAME, in NAME's shape unless said:
//   NAME.codes    I8
//   NAME.scales   F32 [rows, groups]
//   NAME.decoded  F32, (code + offset) * scale, in the stored (rotated) space
//   NAME.trust    U8, 1 where the estimator lets the gradient pass, in the stored space
// Metadata: "format" (qat/codes.h), "offset", "hadamard" (block, 0 = none), "group", "estimator",
// "target".
#pragma once
#include <string>

#include "qat/options.h"

namespace terse {

struct LabEncodeOptions {
  QatOptions qat;  // target, estimator and, for target "none", bits, grid, group and hadamard
  std::string in;
  std::string out;
};

// Memory: the results of all tensors, about ten bytes an element.
// Error(usage): the target is unknown, does not quantize, or does not fit a tensor's columns;
// Error(invalid_file): the input; Error(non_finite): a tensor holds NaN or infinity.
void lab_encode(const LabEncodeOptions& options);

}  // namespace terse
