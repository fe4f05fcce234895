#include "qat/plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/name_pattern.h"
#include "qat/quantize.h"
#include "qat/targets.h"

namespace terse {
namespace {

int64_t block_of(const QatOptions& options, const Target& target) {
  if (options.hadamard >= 0) return options.hadamard <= 1 ? 0 : options.hadamard;
  return target.rotates ? 128 : 0;
}

void check_fit(const Grid& grid, const std::string& name, int64_t columns) {
  const CodeFormat& format = grid.format;
  if (format.group > 0 && columns % format.group != 0)
    fail(ExitCode::usage,
         "[qat]: layer '{}' has {} inputs, no multiple of the group of {}; name it in ignore", name,
         columns, format.group);
  if (format.hadamard > 0 && columns % format.hadamard != 0)
    fail(ExitCode::usage,
         "[qat]: layer '{}' has {} inputs, no multiple of the rotation block {}; the largest that "
         "fits is hadamard = {}, 0 turns the rotation off",
         name, columns, format.hadamard, fitting_block(columns));
}

Grid weight_grid(const QatOptions& options, const Target& target) {
  if (target.grid) return *target.grid;
  const int bits = options.weight_bits == 0 ? 4 : static_cast<int>(options.weight_bits);
  return mse_grid(options.grid.empty() ? "half_int" : options.grid, bits,
                  std::max<int64_t>(options.group, 0), ScaleType::f32, block_of(options, target));
}

Grid activation_grid(const QatOptions& options, const Target& target) {
  return mse_grid(options.grid.empty() ? "half_int" : options.grid,
                  static_cast<int>(options.act_bits), 0, ScaleType::f32, block_of(options, target));
}

}  // namespace

LayerPlan plan_layer(const QatOptions& options, const std::string& name, int64_t columns) {
  LayerPlan plan;
  if (!options.enabled() || !selected(options.targets, options.ignore, name)) return plan;
  const Target* target = find_target(options.target);
  if (target == nullptr)
    fail(ExitCode::usage, "[qat] target = '{}' is unknown; possible: {}", options.target,
         fmt::join(target_names(), ", "));
  if (target->quantizes && options.weight_bits != 16) {
    const Grid grid = weight_grid(options, *target);
    plan.weight = Quantizer{grid, parse_estimator(options.estimator, grid.format.bits)};
    check_fit(grid, name, columns);
  }
  if (options.act_bits < 16) {
    Grid grid = activation_grid(options, *target);
    // Both sides of the product must live in the same space: an unquantized weight is not rotated.
    if (!plan.weight) grid.format.hadamard = 0;
    plan.activations = Quantizer{grid, parse_estimator(options.estimator, grid.format.bits)};
    check_fit(grid, name, columns);
  }
  return plan;
}

}  // namespace terse
