#include "trainer/bench/quant/bench_quant.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <string>
#include <utility>

#include "base/product/product.h"
#include "qat/coded_product.h"
#include "qat/packed_product.h"
#include "qat/targets.h"
#include "qat/tensors.h"
#include "trainer/bench/core/pairs.h"
#include "trainer/bench/quant/against_memcpy.h"
#include "trainer/bench/quant/lossless.h"

namespace terse {
namespace {

QuantizedTensor outputs(const Quantizer& quantizer, const at::Tensor& x, bool decoded) {
  const int64_t group = quantizer.grid.format.group;
  return {.codes = at::empty(x.sizes(), at::kChar),
          .scales = at::empty({x.size(0), group == 0 ? 1 : x.size(1) / group}),
          .mask = at::empty({x.size(0), mask_stride(x.size(1))}, at::kByte),
          .decoded = decoded ? at::empty(x.sizes(), at::kBFloat16) : at::Tensor()};
}

void activations(AgainstMemcpy& bench) {
  const Quantizer int4{mse_grid("half_int", 4, 0, ScaleType::f32, 128), {}};
  const Quantizer int8{mse_grid("half_int", 8, 0, ScaleType::f32, 128), {}};
  const at::Tensor large = at::randn({24576, 1024}).to(at::kBFloat16);
  const at::Tensor small = at::randn({512, 640}).to(at::kBFloat16);
  const QuantizedTensor codes = outputs(int4, large, false), all = outputs(int4, large, true);
  const QuantizedTensor few = outputs(int4, small, false);
  bench.add("quant.hadamard_int4", large, [&] { quantize_tensor(int4, large, codes); });
  bench.add("quant.hadamard_int8", large, [&] { quantize_tensor(int8, large, codes); });
  bench.add("quant.hadamard_int4_decoded", large, [&] { quantize_tensor(int4, large, all); });
  bench.add("quant.hadamard_int4_small", small, [&] { quantize_tensor(int4, small, few); });
  bench.add("quant.decode_int4", large,
            [&] { decode_tensor(int4.grid.format, codes.codes, codes.scales, all.decoded); });
  bench.add("quant.unrotate", large, [&] { rotate_tensor(large, codes.mask, 128, all.decoded); });
}

// Families share short names (gguf:nvfp4, compressed-tensors:nvfp4); GGUF's have no prefix.
std::string row_of(const std::string& target) {
  const size_t colon = target.find(':');
  const std::string family = target.substr(0, colon), type = target.substr(colon + 1);
  if (family == "gguf") return "quant." + type;
  return fmt::format("quant.{}_{}", family == "compressed-tensors" ? "ct" : family, type);
}

void weights(AgainstMemcpy& bench, bool quick) {
  const at::Tensor weight = at::randn({quick ? 1024 : 4096, 1024}).mul_(0.02);
  for (const Target& target : targets()) {
    if (!target.grid) continue;
    const Quantizer quantizer{*target.grid, {}};
    const QuantizedTensor out = outputs(quantizer, weight, true);
    bench.add(row_of(target.name), weight, [&] { quantize_tensor(quantizer, weight, out); });
  }
}

BenchResult product(int64_t k, int64_t n, int pairs) {
  const Quantizer int8{mse_grid("half_int", 8, 0, ScaleType::f32, 0), {}};
  const CodeFormat& format = int8.grid.format;
  const at::Tensor weight = at::randn({n, k}), x = at::randn({2048, k}).to(at::kBFloat16);
  const QuantizedTensor w = outputs(int8, weight, false), a = outputs(int8, x, true);
  quantize_tensor(int8, weight, w);
  quantize_tensor(int8, x, a);
  CodedWeight coded;
  coded.pack({format, keep_codes(format, w.codes), w.scales}, format);
  PackedWeight packed;
  packed.pack(weight);
  const PairedTime time = measure_pairs([&] { packed.forward(a.decoded); },
                                        [&] { coded.forward(a.codes, a.scales); }, pairs);
  return {.name = fmt::format("product.int8_{}x{}", k, n),
          .value = time.seconds * 1e3,
          .unit = "ms",
          .baseline = "product.bf16",
          .ratio = time.ratio,
          .lower_is_better = true};
}

}  // namespace

std::vector<BenchResult> bench_quant(const BenchQuantOptions& options) {
  at::set_num_threads(options.threads);
  at::manual_seed(1);
  AgainstMemcpy bench(options.threads, options.quick ? 7 : 25);
  activations(bench);
  weights(bench, options.quick);
  std::vector<BenchResult> figures = bench.figures();
  for (BenchResult& figure : bench_lossless(options.quick)) figures.push_back(std::move(figure));
  if (!product_available()) return figures;
  const int pairs = options.quick ? 7 : 25;
  for (const auto& [k, n] : std::vector<std::pair<int64_t, int64_t>>{
           {256, 768}, {768, 256}, {640, 3584}, {1792, 640}, {2048, 2048}})
    figures.push_back(product(k, n, pairs));
  return figures;
}

}  // namespace terse
