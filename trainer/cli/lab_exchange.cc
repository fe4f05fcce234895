#include "trainer/lab/exchange/lab_exchange.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"
#include "trainer/cli/lab_connection.h"
#include "trainer/recipe/one_table.h"

namespace terse {

int lab_exchange_verb(const CommonArguments& common, const LabArguments& arguments) {
  LabExchangeOptions options;
  options.in = arguments.in;
  options.out = arguments.out;
  read_sets(with_set("codec", arguments.name, arguments.sets),
            std::pair("exchange", &options.exchange));
  Connection connection = connect_lab(common);
  options.ranks_per_node = connection.world.local_size;
  lab_exchange(options, connection.group);
  if (connection.leader()) print_written(common, options.out);
  return 0;
}

}  // namespace terse
