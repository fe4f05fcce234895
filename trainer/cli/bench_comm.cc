#include "trainer/bench/comm/bench_comm.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_comm_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchCommOptions options;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  const std::vector<CommFigure> figures = bench_comm(options);
  if (common.json)
    fmt::print("{}\n", bench_comm_json(options, figures));
  else
    print_figures(figures);
  return 0;
}

}  // namespace terse
