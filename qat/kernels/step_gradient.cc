#include "qat/kernels/declarations.h"
#include "qat/kernels/stored_row.h"

namespace terse::TERSE_ISA {
namespace {

TERSE_INLINE uint32_t bits_from(const uint8_t* mask, int64_t column, int64_t n) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < (n < kLanes ? n : kLanes); i += 8 - (column + i) % 8) {
    const uint32_t byte = static_cast<uint32_t>(mask[(column + i) / 8]) >> ((column + i) % 8);
    bits |= byte << i;
  }
  return bits;
}

float group_sum(const StepGradientIn& in, const float* z, const uint8_t* mask, float scale,
                int64_t row, int64_t column, int64_t size) {
  const float inverse = 1.0f / scale;
  const int64_t at = row * in.z.columns + column;
  f32x16 sum = {};
  for (int64_t c = 0; c < size; c += kLanes) {
    const int64_t n = size - c;
    const f32x16 level = from_int8(in.codes + at + c, n) + in.format->offset;
    const f32x16 place = keep(load(z + column + c, n) * inverse, bits_from(mask, column + c, n));
    sum += values(in.d, at + c, n) * (level - place);
  }
  return sum_of_lanes(sum);
}

}  // namespace

void step_gradient_rows(const StepGradientIn& in, float* sums, float* scratch) {
  const int64_t columns = in.z.columns;
  const int64_t size = in.format->group <= 0 ? columns : in.format->group;
  const int64_t groups = columns / size;
  for (int64_t r = 0; r < in.z.rows; ++r) {
    const float* z = stored_row(*in.format, in.z, r, Statistic::none, scratch).z;
    const uint8_t* mask = in.mask + r * mask_stride(columns);
    for (int64_t k = 0; k < groups; ++k) {
      const float scale = in.scales[in.format->group < 0 ? 0 : r * groups + k];
      sums[r * groups + k] = group_sum(in, z, mask, scale, r, k * size, size);
    }
  }
}

}  // namespace terse::TERSE_ISA
