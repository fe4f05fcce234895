// The recipe's [sparsity] table, and what it means for one layer.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/keys.h"
#include "sparsity/flow.h"
#include "sparsity/schedule.h"

namespace terse {

struct SparsityOptions {
  std::string pattern;  // "2:4", "unstructured:0.9"; "" = no mask
  std::string schedule = "constant";
  int64_t dense = 0;  // steps without mask at the start; kUntilFrozen = until the variance is
  int64_t fine = -1;  // steps with the final mask at the end; -1 = a tenth of the run
  double beta_end = 1e-3;
  double rate = 0.0;
  std::string estimator = "straight_through";
  double lambda = 2e-4;              // of srste and srste_decoupled
  std::vector<std::string> targets;  // name patterns of layers to mask; empty: all
  std::vector<std::string> ignore;

  bool enabled() const { return !pattern.empty(); }
  int64_t fine_steps(int64_t steps) const { return fine >= 0 ? fine : steps / 10; }
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

// `steps`: of the whole run, since schedules are fractions of it.
struct SparsityRun {
  SparsityOptions options;
  int64_t steps = 0;
};

struct LayerMask {
  MaskSchedule schedule;
  GradientFlow flow = GradientFlow::straight_through;
  double lambda = 0.0;
};

// For the layer `name` with `columns` inputs; empty: no mask. Error(usage) that names the layer
// where the pattern does not fit, and for options that check() refuses.
std::optional<LayerMask> plan_mask(const SparsityRun& run, const std::string& name,
                                   int64_t columns);

}  // namespace terse
