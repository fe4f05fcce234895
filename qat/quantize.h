// The kernels of qat/ on raw memory: rotate, take statistics, quantize, decode and mask rows in one
// pass. Each is compiled per instruction set; all sets give the same bits. One thread; callers
// split rows among threads. Free of torch.
#pragma once
#include <cstdint>

#include "qat/estimator.h"
#include "qat/grid.h"
#include "sparsity/mask.h"

namespace terse {

// Rows of fp32 or bf16 (exactly one pointer set), row-major without gaps.
struct RowsIn {
  const float* f32 = nullptr;
  const uint16_t* bf16 = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
};

// Where to write; each may be null. The mask has mask_stride(columns) bytes a row, bit c % 8 of
// byte c / 8 for column c, 1 = the gradient passes.
struct RowsOut {
  int8_t* codes = nullptr;   // [rows, columns]
  float* scales = nullptr;   // [rows, groups]; read, not written, where scales_given()
  float* f32 = nullptr;      // decoded, in the stored (rotated) space
  uint16_t* bf16 = nullptr;  // the same, rounded to bf16
  uint8_t* mask = nullptr;
  float tensor_scale = 1.0f;  // the second scale of e4m3, of shared_scale(); dynamic: Grid::second
};

struct CodedRows {
  const int8_t* codes = nullptr;
  const float* scales = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t group = 0;  // columns; 0 = a row, -1 = one scale for all
  float offset = 0.0f;
  float unit = 1.0f;  // a power of two: the format's unit times the tensor's scale
};

// Largest power of two that divides `columns`, at most `most`: the rotation block that fits.
int64_t fitting_block(int64_t columns, int64_t most = 128);

void quantize_rows(const Grid& grid, const Estimator& estimator, const RowsIn& in,
                   const RowsOut& out);

// Whether scales come from whoever calls: learned ones, and the one of a whole tensor (group -1).
bool scales_given(const Grid& grid);
// Whether a tensor must be seen whole before any row is quantized, for its one scale or its second
// scale. Then: row_statistics() of its rows, one number each, and shared_scale() of all of them,
// which is the scale as stored (group -1) or the power of two RowsOut::tensor_scale (e4m3) with
// which the largest group's scale still fits. NaN where the tensor holds NaN or infinity.
bool shares_scale(const Grid& grid);
void row_statistics(const Grid& grid, const RowsIn& in, float* statistics);
float shared_scale(const Grid& grid, const float* statistics, int64_t rows);
// decoded = (code + offset) * (scale * unit); either output may be null.
void decode_rows(const CodedRows& in, float* f32, uint16_t* bf16);
// out = rotate(mask .* in) with blocks of `hadamard` columns (0 = no rotation, mask null = ones);
// the backward of quantize_rows. `in` and `out` must not overlap. With an all-ones mask, the
// rotation itself: H / sqrt(block), Sylvester order, its own inverse up to rounding.
void rotate_rows(const RowsIn& in, const uint8_t* mask, int64_t hadamard, float* f32,
                 uint16_t* bf16);

}  // namespace terse
