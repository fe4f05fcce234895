#include "trainer/bench/train/bench_train.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_train_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchTrainOptions options;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  const std::vector<BenchResult> results = bench_train(options);
  if (common.json)
    fmt::print("{}\n", bench_json(options, results));
  else
    print_figures(results);
  return 0;
}

}  // namespace terse
