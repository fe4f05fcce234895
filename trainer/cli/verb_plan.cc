#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "base/error.h"
#include "trainer/cli/verbs.h"
#include "trainer/model/allocator.h"
#include "trainer/plan/plan.h"
#include "trainer/recipe/recipe.h"

namespace terse {

int verb_plan(const CommonArguments& common, const PlanArguments& arguments) {
  PlanOptions options;
  options.ranks = arguments.ranks;
  options.ranks_per_node = arguments.ranks_per_node;
  options.link.bytes_per_second = parse_link_rate(arguments.link);
  options.link.latency = parse_duration(arguments.latency);
  options.step_seconds = arguments.step_seconds;
  options.quick = arguments.quick;
  const Recipe recipe = load_recipe(arguments.recipe, arguments.sets);
  tune_allocator();
  const int64_t threads = common.threads > 0 ? common.threads : recipe.train.threads;
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  const PlanReport report = make_plan(recipe, options);
  if (common.json)
    fmt::print("{}\n", plan_json(report));
  else
    fmt::print("{}", plan_text(report));
  return 0;
}

}  // namespace terse
