// What [qat] means for one layer: the grids and estimators of its weight and of its input.
#pragma once
#include <optional>
#include <string>

#include "qat/estimator.h"
#include "qat/grid.h"
#include "qat/options.h"

namespace terse {

struct Quantizer {
  Grid grid;
  Estimator estimator;
};

struct LayerPlan {
  std::optional<Quantizer> weight;       // empty: kept in the compute type
  std::optional<Quantizer> activations;  // per token; empty: as they come
  // Where the inputs are no multiple of the rotation block, the largest power of two that divides
  // them takes its place; this says so. Empty: nothing to say.
  std::string remark;
};

// For the layer `name` (patterns of options.targets and options.ignore; a trailing ".weight" may be
// left out) with `columns` inputs. Error(usage) that names the layer where the group or the file's
// block does not divide the columns, and for options that check() refuses.
LayerPlan plan_layer(const QatOptions& options, const std::string& name, int64_t columns);

// What all layers share: the grids of their weights and inputs, not rotated yet. The second for
// options whose activation_bits() are below 16.
Grid weight_grid(const QatOptions& options);
Grid activation_grid(const QatOptions& options);

}  // namespace terse
