// `terse lab mask`: masks the tensors of a safetensors file as training would at one step, for
// comparison with any other implementation.
//
// Input: F32, BF16 or F16 tensors; the last dimension is the inputs, the others are rows. Written
// for each tensor NAME, in NAME's shape:
//   NAME.mask    U8, 1 where the weight stays; all ones in the dense stage
//   NAME.weight  F32, as the forward sees it: w (m + (1 - m) beta)
// Metadata: "pattern" (the step's), "beta", "stage", "schedule", and "step", "served" without one.
#pragma once
#include <string>

#include "sparsity/options.h"

namespace terse {

struct LabMaskOptions {
  SparsityRun run;
  int64_t step = kServed;  // steps taken so far
  std::string in;
  std::string out;
};

// Memory: the results of all tensors, five bytes an element.
// Error(usage): the options, or a pattern that does not fit a tensor; Error(invalid_file): the
// input; Error(non_finite): a tensor holds NaN or infinity.
void lab_mask(const LabMaskOptions& options);

}  // namespace terse
