#include "trainer/bench/sparse/bench_sparse.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_sparse_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchSparseOptions options;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  print_bench(common, {.threads = options.threads}, bench_sparse(options));
  return 0;
}

}  // namespace terse
