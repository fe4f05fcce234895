#include "qat/kernels/declarations.h"
#include "qat/kernels/fwht.h"

namespace terse::TERSE_ISA {
namespace {

TERSE_INLINE uint32_t mask_at(const uint8_t* mask, int64_t column, int64_t n) {
  uint32_t bits = mask[column / 8];
  if (n > 8) bits |= static_cast<uint32_t>(mask[column / 8 + 1]) << 8;
  return bits;
}

void write_row(const float* row, int64_t columns, float* f32, uint16_t* bf16) {
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t n = columns - c;
    const f32x16 v = load(row + c, n);
    if (f32) store(f32 + c, v, n);
    if (bf16) store(bf16 + c, bf16_round(v), n);
  }
}

// A row of blocks of kFastBlock, from the input to the result through registers alone.
template <typename In, typename Out>
void rotate_fast(const In* in, const uint8_t* mask, int64_t columns, Out* out) {
  fwht_row_of_fast_blocks(
      columns,
      [&](int64_t c, int64_t) TERSE_ALWAYS {
        f32x16 v;
        if constexpr (sizeof(In) == sizeof(float))
          v = load(in + c);
        else
          v = bf16_load(in + c, kLanes);
        return mask ? keep(v, mask_at(mask, c, kLanes)) : v;
      },
      [&](int64_t c, int64_t, f32x16 v) TERSE_ALWAYS {
        if constexpr (sizeof(Out) == sizeof(float))
          store(out + c, v);
        else
          store(out + c, bf16_round(v));
      });
}

void rotate_fast_row(const RowsIn& in, int64_t at, const uint8_t* mask, float* f32,
                     uint16_t* bf16) {
  if (f32 && in.f32) rotate_fast(in.f32 + at, mask, in.columns, f32 + at);
  if (f32 && in.bf16) rotate_fast(in.bf16 + at, mask, in.columns, f32 + at);
  if (bf16 && in.f32) rotate_fast(in.f32 + at, mask, in.columns, bf16 + at);
  if (bf16 && in.bf16) rotate_fast(in.bf16 + at, mask, in.columns, bf16 + at);
}

}  // namespace

void rotate_rows(const RowsIn& in, const uint8_t* mask, int64_t hadamard, float* f32,
                 uint16_t* bf16, float* scratch) {
  for (int64_t r = 0; r < in.rows; ++r) {
    const int64_t at = r * in.columns;
    const uint8_t* row_mask = mask ? mask + r * mask_stride(in.columns) : nullptr;
    if (hadamard == kFastBlock) {
      rotate_fast_row(in, at, row_mask, f32, bf16);
      continue;
    }
    for (int64_t c = 0; c < in.columns; c += kLanes) {
      const int64_t n = in.columns - c;
      f32x16 v = in.f32 ? load(in.f32 + at + c, n) : bf16_load(in.bf16 + at + c, n);
      if (row_mask) v = keep(v, mask_at(row_mask, c, n));
      store(scratch + c, v, n);
    }
    if (hadamard > 1) fwht_row(scratch, in.columns, hadamard);
    write_row(scratch, in.columns, f32 ? f32 + at : nullptr, bf16 ? bf16 + at : nullptr);
  }
}

void decode_rows(const CodedRows& in, float* f32, uint16_t* bf16) {
  const int64_t group = in.group <= 0 ? in.columns : in.group;
  const int64_t groups = in.rows * (in.columns / group);
  for (int64_t g = 0; g < groups; ++g) {
    const float scale = in.scales[in.group < 0 ? 0 : g] * in.unit;
    for (int64_t c = 0; c < group; c += kLanes) {
      const int64_t n = group - c, at = g * group + c;
      const f32x16 v = (from_int8(in.codes + at, n) + in.offset) * scale;
      if (f32) store(f32 + at, v, n);
      if (bf16) store(bf16 + at, bf16_round(v), n);
    }
  }
}

}  // namespace terse::TERSE_ISA
