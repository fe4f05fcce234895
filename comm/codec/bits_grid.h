// The arithmetic of b-bit quantization on one group, shared by the CPU and the CUDA codec.
//
//   code = round((x - low) (1 / step)) + zero, kept within [0, top]
//   decoded = low + (code - zero) step
//
//   max_min: low = min x, zero = 0,         top = 2^b - 1,  step = (max x - min x) / top
//   norm:    low = 0,     zero = 2^(b-1)-1, top = 2 zero,   step = max |x| / zero
//
// All in fp32, each operation (1 / step too) rounded once. Extremes beyond +-2^126 are cut there,
// so that neither range nor residual overflows; a step is at least 2^-126, so that its reciprocal
// does not. A product where a division is meant moves only what lies within 2^-22 of halfway,
// relatively.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "comm/codec/kernels/philox.h"

namespace terse {

struct BitsExtent {
  float low = INFINITY;
  float high = -INFINITY;
};

struct BitsGrid {
  float low = 0;
  float step = FLT_MIN;
  float zero = 0;
  float top = 1;
  int bits = 1;
};

// The grid without its low and step.
TERSE_ANYWHERE static inline BitsGrid empty_grid(int bits, bool norm) {
  const auto zero = static_cast<float>(norm ? (1 << (bits - 1)) - 1 : 0);
  return {0, FLT_MIN, zero, norm ? 2 * zero : static_cast<float>((1 << bits) - 1), bits};
}

TERSE_ANYWHERE static inline BitsGrid fit_grid(int bits, bool norm, BitsExtent extent) {
  BitsGrid grid = empty_grid(bits, norm);
  if (!(extent.low <= extent.high)) return grid;  // nothing is live
  const float low = fmaxf(extent.low, -0x1p126f), high = fminf(extent.high, 0x1p126f);
  if (!norm) grid.low = low + 0.0f;  // no negative zero
  const float range = norm ? fmaxf(fabsf(low), fabsf(high)) : high - low;
  const float levels = grid.top - grid.zero;
  grid.step = fmaxf(range / levels, FLT_MIN);
  return grid;
}

// The random stream of one message: key = the seed; counter = (number of the element's word of 64)
// x 16 + i % 16, step, bucket x 2 + stage, sender. Element i takes word (i % 64) / 16 of the four.
TERSE_ANYWHERE static inline uint32_t noise_counter(int64_t word, int lane) {
  return static_cast<uint32_t>(word) * 16 + static_cast<uint32_t>(lane);
}

}  // namespace terse
