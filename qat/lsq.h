// LSQ, learned step sizes (Esser et al., "Learned Step Size Quantization", arXiv 1902.08153). For a
// step s over codes [Qn, Qp] with the grid's offset o (0, or 1/2 on the half-integer grid), values
// z in the stored space and d the gradient of the decoded values:
//
//   q  = clamp(round(z/s - o), Qn, Qp)        decoded = (q + o) s
//   dz = d where Qn <= z/s - o <= Qp, else 0                           Estimator::Kind::lsq
//   ds = gs sum d (q + o - z/s where dz passes, else q + o)            gs = 1 / sqrt(n P)
//   s0 = 2 mean |z| / sqrt(P)
//
// with P = max(Qp, 1), n the elements of a weight that share s, or the features of an input (one
// step for all tokens). At 1 bit on the half-integer grid s0 / 2 = mean |z|, the best scale of
// signs.
//
// What is learned is ln s, with the gradient ds / s: a gradient step of rate r multiplies s by
// 1 - r ds / s to first order, which is LSQ's own update, and Adam, whose steps do not depend on
// the size of a gradient, moves every s by the same factor instead of by the same difference (the
// argument of Jain et al., arXiv 1903.08066). s stays above 0. The file's scale is s rounded to its
// type; codes and gradients are made with that. The gradient passes the rounding.
//
// Free of torch.
#pragma once
#include <cstdint>
#include <vector>

#include "qat/quantize.h"

namespace terse {

// s0 of each step of fp32 z [rows, columns], one a row, a group or the tensor (format.group).
// Groups of zeros take the tensor's mean; a tensor of zeros that of a weight with outputs as large
// as its inputs, 1 / sqrt(columns): so that it can begin to learn.
std::vector<double> lsq_start(const CodeFormat& format, const float* z, int64_t rows,
                              int64_t columns);

// The scale that codes are made with and a file holds.
float lsq_scale(double log_step, ScaleType type);

// gs, for n elements or features.
double lsq_gradient_scale(const CodeFormat& format, int64_t n);

// What the sum in ds is made of: z = rotate(in), codes and estimator's mask as quantize_rows() left
// them, scales as it read them, d in the stored space.
struct StepGradientIn {
  RowsIn z, d;
  const int8_t* codes = nullptr;
  const uint8_t* mask = nullptr;
  const float* scales = nullptr;
  const CodeFormat* format = nullptr;
};
// The sum alone, by row and group: sums[rows * groups], also where the tensor shares one step.
// Every instruction set gives the same bits. One thread.
void step_gradient_rows(const StepGradientIn& in, float* sums);

}  // namespace terse
