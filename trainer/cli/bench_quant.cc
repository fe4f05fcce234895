#include "trainer/bench/quant/bench_quant.h"

#include "trainer/cli/component_support.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_quant_verb(const CommonArguments& common, const BenchArguments& arguments) {
  BenchQuantOptions options;
  options.threads = bench_threads(common);
  options.quick = arguments.quick;
  const std::vector<QuantFigure> figures = bench_quant(options);
  if (common.json)
    fmt::print("{}\n", bench_quant_json(options, figures));
  else
    print_figures(figures);
  return 0;
}

}  // namespace terse
