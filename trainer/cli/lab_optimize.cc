#include "trainer/lab/optimize/lab_optimize.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"
#include "trainer/cli/lab_connection.h"
#include "trainer/recipe/one_table.h"

namespace terse {

int lab_optimize_verb(const CommonArguments& common, const LabArguments& arguments) {
  LabOptimizeOptions options;
  options.in = arguments.in;
  options.out = arguments.out;
  read_sets(with_set("name", arguments.name, arguments.sets), std::pair("optim", &options.optim),
            std::pair("exchange", &options.exchange), std::pair("train", &options.train));
  Connection connection = connect_lab(common);
  options.ranks_per_node = connection.world.local_size;
  lab_optimize(options, connection.group);
  if (connection.leader()) print_written(common, options.out);
  return 0;
}

}  // namespace terse
