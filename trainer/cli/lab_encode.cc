#include "trainer/lab/encode/lab_encode.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"
#include "trainer/lab/ranked_path.h"
#include "trainer/recipe/one_table.h"

namespace terse {

int lab_encode_verb(const CommonArguments& common, const LabArguments& arguments) {
  LabEncodeOptions options;
  // Every rank works for itself, so that none need meet the others.
  const int rank = resolve_world(current_environment(), common.world).rank;
  options.in = ranked_path(arguments.in, rank);
  options.out = ranked_path(arguments.out, rank);
  std::vector<std::string> sets = with_set("target", arguments.name, arguments.sets);
  if (!arguments.estimator.empty()) sets = with_set("estimator", arguments.estimator, sets);
  read_sets(sets, std::pair("qat", &options.qat));
  lab_encode(options);
  print_written(common, options.out);
  return 0;
}

}  // namespace terse
