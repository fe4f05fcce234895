#include "trainer/bench/export/bench_export.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_export_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchExportOptions options;
  options.folder = arguments.folder;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  print_bench(common, {.threads = options.threads}, bench_export(options));
  return 0;
}

}  // namespace terse
