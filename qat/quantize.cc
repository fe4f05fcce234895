#include "qat/quantize.h"

#include "base/error.h"
#include "base/isa.h"
#include "qat/kernels/declarations.h"

namespace terse {
namespace {

// One row; kept a thread, since a fresh allocation each call costs page faults. On a cache line,
// since vectors that straddle two are read twice.
float* scratch_row(int64_t columns) {
  static thread_local std::vector<float> row;
  const size_t needed = static_cast<size_t>(columns) + 32;
  if (row.size() < needed) row.resize(needed);
  const uintptr_t at = reinterpret_cast<uintptr_t>(row.data());
  return reinterpret_cast<float*>((at + 63) & ~uintptr_t{63});
}

void check_rows(const RowsIn& in, int64_t hadamard) {
  TERSE_CHECK((in.f32 == nullptr) != (in.bf16 == nullptr) || in.rows * in.columns == 0,
              "rows need one source");
  TERSE_CHECK(hadamard == 0 || ((hadamard & (hadamard - 1)) == 0 && in.columns % hadamard == 0),
              "rotation block {} and {} columns", hadamard, in.columns);
}

}  // namespace

int64_t fitting_block(int64_t columns) {
  int64_t block = 1;
  while (block < 128 && columns % (block * 2) == 0) block *= 2;
  return block;
}

void quantize_rows(const Grid& grid, const Estimator& estimator, const RowsIn& in,
                   const RowsOut& out) {
  check_rows(in, grid.format.hadamard);
  TERSE_CHECK(grid.format.group == 0 || in.columns % grid.format.group == 0,
              "group {} and {} columns", grid.format.group, in.columns);
  if (in.rows * in.columns == 0) return;
  float* scratch = scratch_row(in.columns);
  TERSE_DISPATCH(quantize_rows(grid, estimator, in, out, scratch));
}

void decode_rows(const CodedRows& in, float* f32, uint16_t* bf16) {
  if (in.rows * in.columns == 0) return;
  TERSE_DISPATCH(decode_rows(in, f32, bf16));
}

void rotate_rows(const RowsIn& in, const uint8_t* mask, int64_t hadamard, float* f32,
                 uint16_t* bf16) {
  check_rows(in, hadamard);
  if (in.rows * in.columns == 0) return;
  float* scratch = scratch_row(in.columns);
  TERSE_DISPATCH(rotate_rows(in, mask, hadamard, f32, bf16, scratch));
}

}  // namespace terse
