// InputFormat: what a linear layer does to its input before the product, as plain data: what Codes
// (qat/codes.h) are to its weight. Training plans it (qat/plan.h), a model read from a file is
// built with it, and files that have a place for it hold it.
//
//   code = the grid's code of z / scale (qat/grid.h)        z becomes (code + offset) scale
//
// z is the input in the space of the weight's codes: rotated where they are. The default is what
// compressed-tensors computes: rint(z / scale), ties to even, clamped to [-2^(bits-1),
// 2^(bits-1) - 1], with the scale max |z| / ((2^bits - 1) / 2) of the token, all in fp32.
// Free of torch.
#pragma once
#include <string>

#include "qat/grid.h"

namespace terse {

struct InputFormat {
  int bits = 8;
  float scale = 0.0f;  // one for all tokens, learned (qat/lsq.h); 0: each token has its own
  ScaleRule rule = ScaleRule::absmax;  // of a token's scale; means nothing where there is one
  std::string grid = "int_signed";     // a name of qat/grid.h
  bool operator==(const InputFormat&) const = default;
};

// The grid that computes it on inputs rotated in blocks of `hadamard` (0: as they are).
// Error(usage) for bits or a rule that the grid does not have.
Grid input_grid(const InputFormat& input, int64_t hadamard);
// The other way; `scale`: of a grid whose scale is learned.
InputFormat input_format(const Grid& grid, float scale);

// "int_signed b8 absmax", "half_int b4 rms", "int_signed b8 at 0.03125"; parse undoes it
// (Error(invalid_file)).
std::string to_string(const InputFormat& input);
InputFormat parse_input_format(const std::string& text);

}  // namespace terse
