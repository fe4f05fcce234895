#include "trainer/lab/mask/lab_mask.h"

#include "base/error.h"
#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"
#include "trainer/lab/ranked_path.h"
#include "trainer/recipe/one_table.h"

namespace terse {

int lab_mask_verb(const CommonArguments& common, const LabArguments& arguments) {
  LabMaskOptions options;
  // Every rank works for itself, as in lab encode.
  const int rank = resolve_world(current_environment(), common.world).rank;
  options.in = ranked_path(arguments.in, rank);
  options.out = ranked_path(arguments.out, rank);
  std::vector<std::string> sets = with_set("pattern", arguments.name, arguments.sets);
  if (!arguments.schedule.empty()) sets = with_set("schedule", arguments.schedule, sets);
  read_sets(sets, std::pair("sparsity", &options.run.options));
  options.run.steps = arguments.steps;
  options.step = arguments.step;
  if (arguments.step >= 0 && arguments.steps <= 0)
    fail(ExitCode::usage, "--step {} of how many? Give --steps, which schedules are fractions of",
         arguments.step);
  lab_mask(options);
  print_written(common, options.out);
  return 0;
}

}  // namespace terse
