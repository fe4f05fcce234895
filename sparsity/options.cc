#include "sparsity/options.h"

#include "base/error.h"
#include "base/name_pattern.h"

namespace terse {
namespace {

using Kind = MaskSchedule::Kind;

bool decays_structure(Kind kind) {
  return kind == Kind::structure_stepwise || kind == Kind::structure_geometric;
}
bool decays_mask(Kind kind) {
  return kind == Kind::mask_linear || kind == Kind::mask_exponential;
}

}  // namespace

void SparsityOptions::bind(Keys& keys) {
  keys.text("pattern", pattern,
            "N:M: of M consecutive inputs the N largest weights stay; unstructured:S: the share S "
            "of the matrix becomes zero; \"\" = no mask");
  keys.choice("schedule", schedule, schedule_names(), "how the mask sets in");
  keys.integer("dense", dense, -1, int64_t{1} << 40,
               "steps without mask at the start; -1 = until [optim] variance_steps fixes the "
               "variance (STEP)");
  keys.integer("fine", fine, -1, int64_t{1} << 40,
               "steps with the final mask at the end; -1 = a tenth of the run");
  keys.number("beta_end", beta_end, 0, 1,
              "mask_linear, mask_exponential: what pruned weights are multiplied with when the "
              "fine steps begin");
  keys.number("rate", rate, 0, 1e3,
              "mask_linear, mask_exponential: decay a step, instead of beta_end; 0 = by beta_end");
  keys.choice("estimator", estimator, flow_names(), "gradient of the weights behind the mask");
  keys.number("lambda", lambda, 0, 1e3, "srste, srste_decoupled: pull of pruned weights to zero");
  keys.texts("targets", targets, "name patterns of layers to mask ('*' matches); empty = all");
  keys.texts("ignore", ignore, "name patterns of layers to leave alone");
}

void SparsityOptions::check(Keys& keys) const {
  if (!enabled()) {
    if (schedule != "constant" || !targets.empty())
      keys.problem("pattern",
                   "is missing though [sparsity] has other keys; set e.g. pattern = \"2:4\"");
    return;
  }
  Pattern final_pattern;
  try {
    final_pattern = parse_pattern(pattern);
  } catch (const Error& error) {
    return keys.problem("pattern", error.what());
  }
  const Kind kind = parse_schedule(schedule);
  if (kind == Kind::gradual && !final_pattern.unstructured())
    keys.problem("schedule", fmt::format("\"gradual\" grows an unstructured share of zeros; with "
                                         "pattern {} choose structure_stepwise, or set pattern = "
                                         "\"unstructured:{}\"",
                                         pattern,
                                         1.0 - static_cast<double>(final_pattern.keep) /
                                                   static_cast<double>(final_pattern.of)));
  if (decays_structure(kind) && final_pattern.unstructured())
    keys.problem("schedule", fmt::format("\"{}\" decays N:M; with pattern {} choose \"gradual\"",
                                         schedule, pattern));
  if (kind == Kind::mask_exponential && beta_end == 0 && rate == 0)
    keys.problem("beta_end", "an exponential never reaches 0; choose e.g. 0.001");
  if (rate > 0 && !decays_mask(kind))
    keys.problem("rate", fmt::format("schedule \"{}\" has no beta to decay", schedule));
}

std::optional<LayerMask> plan_mask(const SparsityRun& run, const std::string& name,
                                   int64_t columns) {
  const SparsityOptions& o = run.options;
  if (!o.enabled() || !selected(o.targets, o.ignore, name)) return std::nullopt;
  LayerMask mask;
  MaskSchedule& s = mask.schedule;
  s.kind = parse_schedule(o.schedule);
  s.pattern = parse_pattern(o.pattern);
  check_fit(s.pattern, name, columns);
  s.steps = run.steps;
  s.dense = o.dense;
  s.fine = o.fine_steps(run.steps);
  s.beta_end = o.beta_end;
  s.rate = o.rate;
  s.columns = columns;
  mask.flow = parse_flow(o.estimator);
  mask.lambda = o.lambda;
  return mask;
}

}  // namespace terse
