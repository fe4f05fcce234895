#include "qat/plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/name_pattern.h"
#include "qat/input_format.h"
#include "qat/lsq.h"
#include "qat/quantize.h"
#include "qat/targets.h"

namespace terse {
namespace {

const Target& target_of(const QatOptions& options) {
  const Target* target = find_target(options.target);
  if (target == nullptr)
    fail(ExitCode::usage, "[qat] target = '{}' is unknown; possible: {}", options.target,
         fmt::join(target_names(), ", "));
  return *target;
}

int64_t wanted_block(const QatOptions& options, const Target& target) {
  if (options.bitnet()) return 1;
  if (options.hadamard >= 0) return std::max<int64_t>(options.hadamard, 1);
  return std::max<int64_t>(target.rotation, 1);
}

void check_fit(const CodeFormat& format, const Target& target, const std::string& name,
               int64_t columns) {
  if (format.group > 0 && columns % format.group != 0)
    fail(ExitCode::usage,
         "[qat]: layer '{}' has {} inputs, no multiple of the group of {}; name it in ignore", name,
         columns, format.group);
  if (columns % target.block != 0)
    fail(ExitCode::usage,
         "[qat]: layer '{}' has {} inputs, no multiple of the {} that a block of {} holds; name it "
         "in ignore",
         name, columns, target.block, target.name);
}

void check_blocks(const CodeFormat& input, const std::string& name, int64_t columns) {
  if (input.group > 0 && columns % input.group != 0)
    fail(ExitCode::usage,
         "[qat]: layer '{}' has {} inputs, no multiple of the {} that share a scale; name it in "
         "ignore",
         name, columns, input.group);
}

Grid bitnet_grid(const Target& target) {
  const ScaleType type = target.grid ? target.grid->format.scale_type : ScaleType::f32;
  return with_rule(mse_grid("ternary", 2, -1, type, 0), ScaleRule::absmean);
}

Grid chosen_grid(const QatOptions& options) {
  const std::string name = options.grid.empty() ? "half_int" : options.grid;
  const int fixed = fixed_bits(name);
  const int64_t bits = options.weight_bits != 0 ? options.weight_bits : fixed != 0 ? fixed : 4;
  return mse_grid(name, static_cast<int>(bits), std::max<int64_t>(options.group, 0), ScaleType::f32,
                  0);
}

float global_scale(const QatOptions& options) {
  return options.act_global_scale > 0 ? static_cast<float>(options.act_global_scale) : kInputGlobal;
}

// On half_int where the grid of the weights has no such bits.
Grid free_activations(const QatOptions& options) {
  const int bits = static_cast<int>(options.act_bits);
  if (options.act_grid == "nvfp4" || options.act_grid == "mxfp4") {
    InputFormat input =
        options.act_grid == "nvfp4" ? nvfp4_input(global_scale(options)) : mxfp4_input();
    input.bits = bits;
    return input_grid(input, 0);
  }
  std::string name = options.act_grid.empty() ? options.grid : options.act_grid;
  const bool unfit = name == "ternary" || (fixed_bits(name) != 0 && fixed_bits(name) != bits);
  if (name.empty() || (options.act_grid.empty() && unfit)) name = "half_int";
  return mse_grid(name, bits, 0, ScaleType::f32, 0);
}

}  // namespace

Grid weight_grid(const QatOptions& options) {
  const Target& target = target_of(options);
  if (options.bitnet()) return bitnet_grid(target);
  const Grid grid = target.grid ? target_grid(target, options.group) : chosen_grid(options);
  return options.scale.empty() ? grid : with_rule(grid, parse_rule(options.scale));
}

Grid activation_grid(const QatOptions& options) {
  const Target& target = target_of(options);
  if (options.bitnet())
    return with_rule(mse_grid("int_symmetric", 8, 0, ScaleType::f32, 0), ScaleRule::absmax);
  if (target.activations) {
    const bool second = target.activations->format.scale_type == ScaleType::e4m3;
    return second ? input_grid(nvfp4_input(global_scale(options)), 0) : *target.activations;
  }
  if (target.file_says_activations && options.act_grid.empty())
    return input_grid({.bits = static_cast<int>(options.act_bits)}, 0);
  return free_activations(options);
}

LayerPlan plan_layer(const QatOptions& options, const std::string& name, int64_t columns) {
  LayerPlan plan;
  if (!options.enabled() || !selected(options.targets, options.ignore, name)) return plan;
  const Target& target = target_of(options);
  const int64_t wanted = wanted_block(options, target), block = fitting_block(columns, wanted);
  if (target.quantizes && options.weight_bits != 16) {
    Grid grid = weight_grid(options);
    grid.format.hadamard = block == 1 ? 0 : block;
    check_fit(grid.format, target, name, columns);
    const Estimator estimator = parse_estimator(options.estimator, grid.format.bits);
    if (estimator.kind == Estimator::Kind::lsq) {
      // As in the paper: one step for the weight, unless the target or the recipe says otherwise.
      if (!target.grid && options.group < 0) grid.format.group = -1;
      grid = learned_grid(grid);
    }
    plan.weight = Quantizer{grid, estimator};
    if (block != wanted)
      plan.remark = fmt::format(
          "layer '{}': {} inputs are no multiple of {}, so it is {}", name, columns, wanted,
          block == 1 ? std::string("not rotated") : fmt::format("rotated in blocks of {}", block));
  }
  if (options.activation_bits() < 16) {
    Grid grid = activation_grid(options);
    // Both sides of the product must live in the same space: an unquantized weight is not rotated.
    grid.format.hadamard = plan.weight ? plan.weight->grid.format.hadamard : 0;
    const Estimator estimator = parse_estimator(options.estimator, grid.format.bits);
    // Where the reader computes scales itself, there is no step to learn.
    if (estimator.kind == Estimator::Kind::lsq && !target.activations) {
      grid.format.group = -1;
      grid = learned_grid(grid);
    }
    check_blocks(grid.format, name, columns);
    plan.activations = Quantizer{grid, estimator};
  }
  return plan;
}

}  // namespace terse
