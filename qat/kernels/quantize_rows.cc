#include "qat/kernels/declarations.h"
#include "qat/kernels/quantize_group.h"
#include "qat/kernels/stored_row.h"

namespace terse::TERSE_ISA {
namespace {

int64_t group_size(const Grid& grid, int64_t columns) {
  return grid.format.group <= 0 ? columns : grid.format.group;
}

// Group k of row r, from its statistic; its scale is read from `out`, or computed and written.
Group ready_group(const Plan& plan, float statistic, int64_t groups, int64_t r, int64_t k,
                  const RowsOut& out) {
  const Grid& grid = *plan.grid;
  float* kept = out.scales ? out.scales + (grid.format.group < 0 ? 0 : r * groups + k) : nullptr;
  if (plan.given) return group_of(plan, given_scale(*kept, statistic));
  const Scale scale = stored_scale(grid, scale_from(grid, statistic), plan.least, plan.tensor);
  if (kept) *kept = scale.stored;
  return group_of(plan, scale);
}

// `first`: the first group.
template <Rounding rounding>
void quantize_row(const Plan& plan, const float* z, const Group& first, int64_t r, int64_t columns,
                  const RowsOut& out) {
  const int64_t size = group_size(*plan.grid, columns), groups = columns / size;
  uint8_t* mask = out.mask ? out.mask + r * mask_stride(columns) : nullptr;
  for (int64_t k = 0; k < groups; ++k) {
    const int64_t column = k * size, at = r * columns + column;
    const Group group = k == 0 ? first
                               : ready_group(plan, statistic_of(plan.statistic, z + column, size),
                                             groups, r, k, out);
    quantize_group<rounding>(
        group, z + column, size,
        {out.codes ? out.codes + at : nullptr, out.f32 ? out.f32 + at : nullptr,
         out.bf16 ? out.bf16 + at : nullptr, mask, column});
  }
}

using RowFunction = void (*)(const Plan&, const float*, const Group&, int64_t, int64_t,
                             const RowsOut&);

RowFunction row_function(Rounding rounding) {
  switch (rounding) {
    case Rounding::floor:
      return quantize_row<Rounding::floor>;
    case Rounding::nearest:
      return quantize_row<Rounding::nearest>;
    case Rounding::ggml_shift:
      return quantize_row<Rounding::ggml_shift>;
    case Rounding::half_away:
      return quantize_row<Rounding::half_away>;
    case Rounding::fp4:
      return quantize_row<Rounding::fp4>;
    case Rounding::quotient:
      return quantize_row<Rounding::quotient>;
    case Rounding::fp4_quotient:
      return quantize_row<Rounding::fp4_quotient>;
  }
  return nullptr;
}

// The largest scale of a row's groups; NaN stays.
float largest_scale_of(const Grid& grid, const float* z, int64_t columns) {
  const int64_t size = group_size(grid, columns);
  float most = 0.0f;
  for (int64_t c = 0; c < columns; c += size) {
    const float scale = scale_from(grid, statistic_of(statistic_kind(grid.rule), z + c, size));
    if (!(scale <= most)) most = scale;
  }
  return most;
}

}  // namespace

// A scale ends in a sum over lanes, a root and quotients, one waiting for the other. Several rows
// are rotated before the first is quantized, so that their scales wait together.
void quantize_rows(const Grid& grid, const Estimator& estimator, const RowsIn& in,
                   const RowsOut& out, float* scratch) {
  const RowFunction quantize = row_function(grid.rounding);
  const Plan plan = plan_of(grid, estimator, out.tensor_scale);
  const int64_t size = group_size(grid, in.columns), groups = in.columns / size;
  const Statistic whole = groups == 1 ? plan.statistic : Statistic::none;
  const int64_t together = rows_together(in.columns), stride = scratch_stride(in.columns);
  StoredRow stored[kMostRows];
  Group first[kMostRows];
  for (int64_t begin = 0; begin < in.rows; begin += together) {
    const int64_t rows = in.rows - begin < together ? in.rows - begin : together;
    for (int64_t i = 0; i < rows; ++i)
      stored[i] = stored_row(grid.format, in, begin + i, whole, scratch + i * stride);
    for (int64_t i = 0; i < rows; ++i) {
      if (groups > 1) stored[i].statistic = statistic_of(plan.statistic, stored[i].z, size);
      first[i] = ready_group(plan, stored[i].statistic, groups, begin + i, 0, out);
    }
    for (int64_t i = 0; i < rows; ++i)
      quantize(plan, stored[i].z, first[i], begin + i, in.columns, out);
  }
}

void row_statistics(const Grid& grid, const RowsIn& in, float* statistics, float* scratch) {
  const bool whole = grid.format.group < 0;
  const Statistic kind = whole ? statistic_kind(grid.rule) : Statistic::none;
  for (int64_t r = 0; r < in.rows; ++r) {
    const StoredRow row = stored_row(grid.format, in, r, kind, scratch);
    statistics[r] = whole ? row.statistic : largest_scale_of(grid, row.z, in.columns);
  }
}

}  // namespace terse::TERSE_ISA
