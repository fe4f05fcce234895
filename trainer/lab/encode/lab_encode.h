// `terse lab encode`: runs a target's quantizer on the tensors of a safetensors file and writes
// what it did, for comparison with any other implementation.
//
// Input: F32, BF16 or F16 tensors; the last dimension is the columns, the others are rows. Written
// for each tensor NAME, in NAME's shape unless said:
//   NAME.codes    I8; of fp4 the four bits of E2M1: sign, then the place in 0 0.5 1 1.5 2 3 4 6
//   NAME.scales   F32 [rows, groups], or [1, 1] where the tensor shares one; with estimator lsq
//                 those that learning begins with
//   NAME.scale2   F32 [1], of NVFP4 alone: the scale of the tensor, a power of two
//   NAME.decoded  F32, in the stored (rotated) space: (code + offset) * scale, of fp4 the value
//                 times scale times scale2
//   NAME.trust    U8, 1 where the estimator lets the gradient pass, in the stored space
// Metadata: "format" (qat/codes.h), "offset", "hadamard" (block, 0 = none), "group" (0 = a row,
// -1 = the tensor), "scale" (the rule), "estimator", "target".
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
