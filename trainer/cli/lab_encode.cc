#include "trainer/lab/encode/lab_encode.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"
#include "trainer/recipe/one_table.h"

namespace terse {

int lab_encode_verb(const CommonArguments& common, const LabArguments& arguments) {
  LabEncodeOptions options;
  options.in = arguments.in;
  options.out = arguments.out;
  std::vector<std::string> sets = with_set("target", arguments.name, arguments.sets);
  if (!arguments.estimator.empty()) sets = with_set("estimator", arguments.estimator, sets);
  read_sets(sets, std::pair("qat", &options.qat));
  lab_encode(options);
  print_written(common, options.out);
  return 0;
}

}  // namespace terse
