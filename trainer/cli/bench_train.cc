#include "trainer/bench/train/bench_train.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_train_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchTrainOptions options;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  print_bench(common, {.threads = options.threads}, bench_train(options));
  return 0;
}

}  // namespace terse
