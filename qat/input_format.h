// InputFormat: what a linear layer does to its input before the product, as plain data: what Codes
// (qat/codes.h) are to its weight. Training plans it (qat/plan.h), a model read from a file is
// built with it, and files that have a place for it hold it.
//
//   code = the grid's code of z / scale (qat/grid.h)        z becomes (code + offset) scale
//
// z is the input in the space of the weight's codes: rotated where they are. The default is what
// compressed-tensors computes: rint(z / scale), ties to even, clamped to [-2^(bits-1),
// 2^(bits-1) - 1], with the scale max |z| / ((2^bits - 1) / 2) of the token, all in fp32.
//
// Two grids besides those of qat/grid.h, fp4 in blocks of a token, computed as compressed-tensors
// does, in fp32:
//   nvfp4   16 columns; e4m3 = max |z| / 6 global, rounded to E4M3, at most 448, 1/8 for 0;
//           scale = e4m3 / global; z becomes E2M1(z / scale) scale, ties to the even mantissa
//   mxfp4   32 columns; scale = 2^(floor(log2 max |z|) - 2), by the rule mx_round a power more from
//           mantissa 1.75 on; the same codes
// Free of torch.
#pragma once
#include <string>
#include <vector>

#include "qat/grid.h"

namespace terse {

struct InputFormat {
  int bits = 8;
  float scale = 0.0f;   // one for all tokens, learned (qat/lsq.h); 0: each token has its own
  float global = 1.0f;  // of nvfp4, a power of two: the field's input_global_scale
  ScaleRule rule = ScaleRule::absmax;  // of a token's scale; means nothing where there is one
  std::string grid = "int_signed";     // one of input_grid_names()
  bool operator==(const InputFormat&) const = default;
};

// Those of qat/grid.h, nvfp4 and mxfp4.
std::vector<std::string> input_grid_names();
// What compressed-tensors computes under these two names. With the global scale of a recipe that
// names none, blocks of largest values from 0.012 to 336 have all digits of E4M3, and smaller ones
// fewer down to 0.0015: inputs of networks that begin to learn, and what becomes of them.
constexpr float kInputGlobal = 8.0f;
InputFormat nvfp4_input(float global);
InputFormat mxfp4_input();
// Whether a second scale can be `global`: a power of two from 2^-20 to 2^20.
bool possible_global(double global);

// The grid that computes it on inputs rotated in blocks of `hadamard` (0: as they are).
// Error(usage) for bits, a rule or scales that the grid does not have.
Grid input_grid(const InputFormat& input, int64_t hadamard);
// The other way; `scale`: of a grid whose scale is learned.
InputFormat input_format(const Grid& grid, float scale);

// "int_signed b8 absmax", "half_int b4 rms", "int_signed b8 at 0.03125", "mxfp4 b4 mx_round",
// "nvfp4 b4 absmax global 8"; parse undoes it (Error(invalid_file)).
std::string to_string(const InputFormat& input);
InputFormat parse_input_format(const std::string& text);

}  // namespace terse
