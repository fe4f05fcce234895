// Grids: how a group of values becomes codes and a scale. A scale rule and a rounding as named
// data, so that a new engine format is a row of a table (qat/targets.h), not code.
//
// Scale of the values z that share it, before it is rounded to the format's scale type:
//   rms         c sqrt(mean z^2) + eps            QuEST (arXiv 2502.05003); c minimises the squared
//                                                 error on N(0, 1), constants recomputed
//   absmean     max(c mean |z|, eps)              BitNet b1.58 (arXiv 2402.17764): c = 1 ternary;
//                                                 binary: c = 2, which minimises the squared error
//   absmax      max |z| / c                       c: the level that the largest becomes
//   signed_max  m / c, m the first of largest |z| GGUF Q4_0: c = -8
//   mx_floor    2^(floor(log2 max |z|) - 2)       OCP MX 1.0, what ggml does for MXFP4
//   mx_round    the same of max |z| with its mantissa rounded up from 1.75: compressed-tensors',
//               less error on N(0, 1)
//   learned     given by whoever calls (qat/lsq.h)
// Sums of squares and magnitudes are taken in fp32 in one fixed order. eps keeps zeros finite:
// 2e-8 / (2^b - 1) on half-integer grids, 1e-8 on others, absmean 1e-5.
//
// Codes of t = z / scale, clamped to [code_min, code_max]:
//   floor       floor(t): half-integer grids, decoded (q + 0.5) scale
//   nearest     rint(t), ties to even
//   half_away   round(t), ties away from zero
//   ggml_shift  trunc(t + (0.5 - code_min)) + code_min
//   fp4         the nearest E2M1 value, ties to the even mantissa, doubled
//   quotient    nearest, of the quotient itself (below)
//   fp4_quotient  fp4, of the quotient itself
// z / scale is a product with the fp32 inverse of the scale as stored: rounded to its type and
// never below the type's smallest normal number, so that an encoder that reads the file's scale
// finds the same codes. `ggml` takes the inverse of the scale before it is rounded, as ggml does
// for Q4_0 and Q8_0, and so equals ggml's blocks bit for bit wherever their scale is a normal
// number. `quotient` divides, as compressed-tensors does where it rounds inputs: under absmax a
// negative value of largest magnitude lies at -(2^b - 1) / 2 codes, a tie, which the last bit of
// the quotient decides (of tokens of 128 normal values that is another code for one in eleven).
//
// `dynamic`: blocks of fp4 whose scales are computed where the model runs and stored nowhere, as
// compressed-tensors and GPUs do for inputs (qat/input_format.h). An e4m3 scale over `second` is
// then at most 448, has subnormal numbers, and is 1/8 where it would be 0; what lies beyond 6 such
// scales becomes 6. Otherwise the largest value of a block is beyond 6 only because its scale was
// rounded, so clip reaches to 7 = 6 and half of the widest distance: no block clips its own values.
//
// A group that holds NaN or infinity gets the scale NaN. Free of torch.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "qat/codes.h"

namespace terse {

enum class ScaleRule : uint8_t { rms, signed_max, absmax, learned, absmean, mx_floor, mx_round };
enum class Rounding : uint8_t {
  floor,
  nearest,
  ggml_shift,
  half_away,
  fp4,
  quotient,
  fp4_quotient,
};

struct Grid {
  CodeFormat format;
  ScaleRule rule = ScaleRule::rms;
  Rounding rounding = Rounding::floor;
  float step = 0.0f;   // c of the rule
  float eps = 0.0f;    // of rms and absmean
  float least = 0.0f;  // no scale is smaller; 0 = the scale type's smallest normal number
  bool ggml = false;   // codes from the scale before it was rounded
  bool dynamic = false;
  float second = 1.0f;  // of dynamic e4m3 scales: the tensor's scale, a power of two
};

// "half_int" or "int_signed" at 1 to 8 bits, "int_symmetric" at 2 to 8, "ternary" (2 bits stored),
// "fp4" (4), on the scale rule rms. group: qat/codes.h. Error(usage) with the possible names or
// bits.
Grid mse_grid(const std::string& name, int bits, int64_t group, ScaleType scale_type,
              int64_t hadamard);
// The same grid with another rule and its constants. Error(usage) that names the rules which the
// grid can have: every one rms and absmax, int_signed signed_max, ternary and binary absmean, fp4
// the two mx rules.
Grid with_rule(Grid grid, ScaleRule rule);
// The same grid with steps that are given (ScaleRule::learned; qat/lsq.h). Error(usage) for grids
// whose levels are not evenly spaced, and for scale types that hold powers of two or need a second
// scale.
Grid learned_grid(Grid grid);
// What GGUF's own quantizers do.
Grid q4_0_grid();
Grid q8_0_grid();

// c of rms for N(0, 1): the table in grid.cc. At 1 bit int_signed is {-1, 0}.
double mse_step(const std::string& name, int bits);

std::vector<std::string> grid_names();
// Bits of a grid that has no choice of them, else 0.
int fixed_bits(const std::string& grid);
// Of the rules that a recipe can name, all but learned; parse: Error(usage) with the possible.
std::vector<std::string> rule_names();
const char* to_string(ScaleRule rule);
ScaleRule parse_rule(const std::string& name);

}  // namespace terse
