#include "trainer/bench/quant/bench_quant.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_quant_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchQuantOptions options;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  print_bench(common, {.threads = options.threads}, bench_quant(options));
  return 0;
}

}  // namespace terse
