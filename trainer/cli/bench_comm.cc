#include "trainer/bench/comm/bench_comm.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_comm_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchCommOptions options;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  print_bench(common, {.threads = options.threads, .elements = options.elements},
              bench_comm(options));
  return 0;
}

}  // namespace terse
