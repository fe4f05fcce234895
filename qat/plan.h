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
};

// For the layer `name` (patterns of options.targets and options.ignore; a trailing ".weight" may be
// left out) with `columns` inputs. Error(usage) that names the layer where the group or the
// rotation block does not divide the columns, and for options that check() refuses.
LayerPlan plan_layer(const QatOptions& options, const std::string& name, int64_t columns);

}  // namespace terse
