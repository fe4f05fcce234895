#include "export/post_training.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <vector>

#include "base/error.h"
#include "export/parallel_rows.h"
#include "qat/plan.h"
#include "qat/quantize.h"
#include "qat/targets.h"

namespace terse {
namespace {

// The number behind `prefix`: "compressed-tensors:w", "onnx:matmul".
std::optional<int> bits_behind(std::string_view rule, std::string_view prefix) {
  if (!rule.starts_with(prefix)) return std::nullopt;
  rule.remove_prefix(prefix.size());
  int bits = 0;
  const auto [end, error] = std::from_chars(rule.data(), rule.data() + rule.size(), bits);
  return error == std::errc() && end != rule.data() ? std::optional(bits) : std::nullopt;
}

int64_t first_that_divides(int64_t columns, std::initializer_list<int64_t> groups) {
  for (const int64_t group : groups)
    if (columns % group == 0) return group;
  return 0;
}

PostTraining of_compressed_tensors(const std::string& rule, int bits, int64_t columns) {
  const int64_t group =
      rule == "compressed-tensors:w8a8" ? 0 : first_that_divides(columns, {128, 64, 32});
  const int64_t block = rule.ends_with("-hadamard") ? fitting_block(columns) : 1;
  PostTraining how;
  how.grid = with_rule(mse_grid("int_signed", bits, group, ScaleType::bf16, block == 1 ? 0 : block),
                       ScaleRule::absmax);
  how.grid.rounding = Rounding::quotient;
  return how;
}

PostTraining of_matmul_nbits(int bits, int64_t columns) {
  const int64_t group = first_that_divides(columns, {32, 16});
  PostTraining how{.grid = learned_grid(mse_grid("int_signed", bits, group, ScaleType::f32, 0)),
                   .signed_blocks = true};
  how.grid.rounding = Rounding::ggml_shift;
  return how;
}

PostTraining of_qdq_rows() {
  PostTraining how;
  how.grid = with_rule(mse_grid("int_symmetric", 8, 0, ScaleType::f32, 0), ScaleRule::absmax);
  how.grid.rounding = Rounding::quotient;
  return how;
}

PostTraining of_target(const std::string& target, const std::string& name, int64_t columns) {
  QatOptions options;
  options.target = target;
  const LayerPlan plan = plan_layer(options, name, columns);
  TERSE_CHECK(plan.weight.has_value(), "target {}", target);
  return {.grid = plan.weight->grid};
}

// ONNX Runtime takes the negative value where it is as large as the positive one.
void signed_scales(const CodeFormat& format, const float* row, int64_t columns, float* scales) {
  const int64_t group = format.group == 0 ? columns : format.group;
  for (int64_t first = 0; first < columns; first += group) {
    float low = 0, high = 0, sum = 0;
    for (int64_t c = first; c < first + group; ++c) {
      low = std::min(low, row[c]);
      high = std::max(high, row[c]);
      sum += row[c] * 0.0f;  // NaN of NaN and of infinity
    }
    const float scale = (high > -low ? high : low) / static_cast<float>(format.code_min) + sum;
    const float least = smallest_normal(format.scale_type);
    scales[first / group] = std::abs(scale) < least ? least : scale;
  }
}

// The second scale of e4m3.
float tensor_scale(const Grid& grid, const RowsIn& in) {
  if (!shares_scale(grid)) return 1.0f;
  std::vector<float> largest(static_cast<size_t>(in.rows));
  each_row(in.rows, in.columns, [&](int64_t r) {
    row_statistics(grid, {.f32 = in.f32 + r * in.columns, .rows = 1, .columns = in.columns},
                   largest.data() + r);
  });
  return shared_scale(grid, largest.data(), in.rows);
}

}  // namespace

bool has_post_training(const std::string& rule) {
  if (bits_behind(rule, "compressed-tensors:w") || bits_behind(rule, "onnx:matmul")) return true;
  const Target* target = find_target(rule);
  return target != nullptr && target->grid.has_value();
}

PostTraining post_training(const std::string& rule, const std::string& name, int64_t columns) {
  if (const auto bits = bits_behind(rule, "compressed-tensors:w"))
    return of_compressed_tensors(rule, *bits, columns);
  if (const auto bits = bits_behind(rule, "onnx:matmul")) return of_matmul_nbits(*bits, columns);
  if (rule == "onnx:int8") return of_qdq_rows();
  return of_target(rule, name, columns);
}

Codes rounded_codes(const PostTraining& how, const std::string& name, int64_t rows, int64_t columns,
                    std::span<const float> values) {
  const Grid& grid = how.grid;
  Codes codes;
  codes.format = grid.format;
  codes.rows = rows;
  codes.columns = columns;
  codes.codes.resize(values.size());
  codes.scales.resize(static_cast<size_t>(codes.scale_count()));
  codes.tensor_scale = tensor_scale(grid, {.f32 = values.data(), .rows = rows, .columns = columns});
  each_row(rows, columns, [&](int64_t r) {
    const float* row = values.data() + r * columns;
    float* scales = codes.scales.data() + r * codes.groups();
    if (how.signed_blocks) signed_scales(grid.format, row, columns, scales);
    quantize_rows(grid, {}, {.f32 = row, .rows = 1, .columns = columns},
                  {.codes = codes.codes.data() + r * columns,
                   .scales = scales,
                   .tensor_scale = codes.tensor_scale});
  });
  codes.validate(name);
  return codes;
}

}  // namespace terse
