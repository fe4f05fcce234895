#include "trainer/bench/sparse/bench_sparse.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "qat/mask_tensors.h"
#include "trainer/bench/quant/against_memcpy.h"
#include "trainer/bench/sparse/nm_products.h"

namespace terse {
namespace {

void masks(AgainstMemcpy& bench, const at::Tensor& weight) {
  const std::vector<std::pair<const char*, const char*>> patterns = {
      {"24", "2:4"}, {"18", "1:8"}, {"132", "1:32"}, {"unstructured", "unstructured:0.9"}};
  for (const auto& [name, text] : patterns) {
    const Pattern pattern = parse_pattern(text);
    bench.add(std::string("sparse.mask_") + name, weight,
              [&] { select_mask_tensor(pattern, weight); });
  }
}

void step(AgainstMemcpy& bench, const at::Tensor& weight) {
  const Pattern pattern = parse_pattern("2:4");
  const at::Tensor mask = select_mask_tensor(pattern, weight);
  const at::Tensor served = at::empty(weight.sizes(), at::kBFloat16);
  const at::Tensor gradient = at::randn(weight.sizes());
  bench.add("sparse.blend_24", weight, [&] { blend_tensor(weight, mask, 0.5f, served); });
  bench.add("sparse.refresh_24", weight,
            [&] { blend_tensor(weight, select_mask_tensor(pattern, weight), 0.5f, served); });
  bench.add("sparse.hard_gradient_24", gradient,
            [&] { blend_tensor(gradient, mask, 0.0f, gradient); });
  bench.add("sparse.srste_24", gradient, [&] { add_pruned_tensor(weight, mask, 2e-4f, gradient); });
}

}  // namespace

std::vector<BenchResult> bench_sparse(const BenchSparseOptions& options) {
  at::set_num_threads(options.threads);
  at::manual_seed(1);
  AgainstMemcpy bench(options.threads, options.quick ? 7 : 25);
  const at::Tensor weight = at::randn({4096, 1024}).mul_(0.02);
  masks(bench, weight);
  step(bench, weight);
  std::vector<BenchResult> figures = bench.figures();
  for (BenchResult& figure : bench_nm_products(options.quick)) figures.push_back(std::move(figure));
  return figures;
}

}  // namespace terse
