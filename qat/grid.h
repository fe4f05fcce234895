// Grids: how a group of values becomes codes and a scale. A scale rule and a rounding as named
// data, so that a new engine format is a row of a table (qat/targets.h), not code.
//
//   ScaleRule::rms         sigma = sqrt(mean z^2) over the group in fp32, step = c sigma + eps,
//   rounded
//                          to the scale type, at least that type's smallest normal number
//   ScaleRule::signed_max  d = m / code_min with m the first value of largest magnitude (GGUF Q4_0)
//   ScaleRule::absmax      d = max |z| / code_max                                        (GGUF
//   Q8_0) Rounding::floor        q = floor(z / step)                 half-integer grids, decoded
//   (q+0.5) step Rounding::nearest      q = rint(z / step), ties to even Rounding::ggml_shift   q =
//   trunc(z / d + (0.5 - code_min)) + code_min Rounding::half_away    q = round(z / d), ties away
//   from zero
// then clamped to [code_min, code_max]. Quotients are products with the fp32 inverse; the two GGUF
// rules use the inverse of d before it is rounded to fp16, as ggml does.
//
// c is the step that minimises the squared error on N(0, 1) (QuEST, arXiv 2502.05003; constants
// recomputed). eps keeps a row of zeros finite: half-integer 2e-8 / (2^b - 1), else 1e-8.
// A group that holds NaN or infinity gets the scale NaN. Free of torch.
#pragma once
#include <cstdint>
#include <string>

#include "qat/codes.h"

namespace terse {

enum class ScaleRule : uint8_t { rms, signed_max, absmax };
enum class Rounding : uint8_t { floor, nearest, ggml_shift, half_away };

struct Grid {
  CodeFormat format;
  ScaleRule rule = ScaleRule::rms;
  Rounding rounding = Rounding::floor;
  float step = 0.0f;  // c of ScaleRule::rms
  float eps = 0.0f;
};

// "half_int" or "int_signed" at 1 to 8 bits, "int_symmetric" at 2 to 8, on the scale rule rms.
// Error(usage) with the possible names or bits.
Grid mse_grid(const std::string& name, int bits, int64_t group, ScaleType scale_type,
              int64_t hadamard);
Grid q4_0_grid();
Grid q8_0_grid();

// c for N(0, 1): the table in grid.cc. At 1 bit int_signed is {-1, 0}.
double mse_step(const std::string& name, int bits);

}  // namespace terse
