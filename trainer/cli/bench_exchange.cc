#include "trainer/bench/exchange/bench_exchange.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"
#include "trainer/cli/lab_connection.h"

namespace terse {

int bench_exchange_verb(const CommonArguments& common, const BenchArguments& arguments) {
  Connection connection = connect_lab(common);
  BenchExchangeOptions options;
  options.quick = arguments.quick;
  const auto results = bench_exchange(connection.group, options);
  if (connection.leader())
    print_bench(common,
                {.threads = connection.binding.threads,
                 .elements = options.elements,
                 .ranks = connection.group.size()},
                results);
  return 0;
}

}  // namespace terse
