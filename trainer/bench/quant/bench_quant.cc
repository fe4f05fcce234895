#include "trainer/bench/quant/bench_quant.h"

#include <cstring>

#include "qat/activation.h"
#include "qat/targets.h"
#include "qat/tensors.h"
#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

using Work = std::function<void()>;

void plain_copy(const at::Tensor& to, const at::Tensor& from) {
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* target = static_cast<std::byte*>(to.mutable_data_ptr());
  at::parallel_for(0, static_cast<int64_t>(from.nbytes()), 1 << 15,
                   [&](int64_t begin, int64_t end) {
                     std::memcpy(target + begin, source + begin, static_cast<size_t>(end - begin));
                   });
}

class Bench {
 public:
  explicit Bench(const BenchQuantOptions& options) : options_(options) {}

  // `work` reads `input` once; the baseline copies it.
  void add(const std::string& name, const at::Tensor& input, const Work& work) {
    const at::Tensor target = at::empty_like(input);
    const int64_t repeats = std::max<int64_t>(1, (1 << 22) / input.numel());
    const auto many = [repeats](const Work& one) -> Work {
      return [repeats, &one] {
        for (int64_t i = 0; i < repeats; ++i) one();
      };
    };
    const Work baseline = [&] { plain_copy(target, input); };
    const PairedTime time = measure_pairs(many(baseline), many(work), options_.quick ? 7 : 25);
    const double elements = static_cast<double>(input.numel() * repeats);
    figures.push_back({.name = name,
                       .value = time.seconds * 1e9 * options_.threads / elements,
                       .unit = "ns/element",
                       .baseline = "memcpy",
                       .ratio = time.ratio,
                       .lower_is_better = true});
  }

  std::vector<BenchResult> figures;

 private:
  BenchQuantOptions options_;
};

QuantizedTensor outputs(const Quantizer& quantizer, const at::Tensor& x, bool decoded) {
  const int64_t group = quantizer.grid.format.group;
  return {.codes = at::empty(x.sizes(), at::kChar),
          .scales = at::empty({x.size(0), group == 0 ? 1 : x.size(1) / group}),
          .mask = at::empty({x.size(0), mask_stride(x.size(1))}, at::kByte),
          .decoded = decoded ? at::empty(x.sizes(), at::kBFloat16) : at::Tensor()};
}

void activations(Bench& bench, bool quick) {
  const Quantizer int4{mse_grid("half_int", 4, 0, ScaleType::f32, 128), {}};
  const at::Tensor large = at::randn({quick ? 6144 : 24576, 1024}).to(at::kBFloat16);
  const at::Tensor small = at::randn({512, 640}).to(at::kBFloat16);
  const QuantizedTensor codes = outputs(int4, large, false), all = outputs(int4, large, true);
  const QuantizedTensor few = outputs(int4, small, false);
  bench.add("quant.hadamard_int4", large, [&] { quantize_tensor(int4, large, codes); });
  bench.add("quant.hadamard_int4_decoded", large, [&] { quantize_tensor(int4, large, all); });
  bench.add("quant.hadamard_int4_small", small, [&] { quantize_tensor(int4, small, few); });
  bench.add("quant.decode_int4", large,
            [&] { decode_tensor(int4.grid.format, codes.codes, codes.scales, all.decoded); });
  bench.add("quant.unrotate", large, [&] { rotate_tensor(large, codes.mask, 128, all.decoded); });
}

void weights(Bench& bench, bool quick) {
  const at::Tensor weight = at::randn({quick ? 1024 : 4096, 1024}).mul_(0.02);
  for (const Target& target : targets()) {
    if (!target.grid) continue;
    const Quantizer quantizer{*target.grid, {}};
    const QuantizedTensor out = outputs(quantizer, weight, true);
    bench.add("quant." + target.name.substr(target.name.find(':') + 1), weight,
              [&] { quantize_tensor(quantizer, weight, out); });
  }
}

}  // namespace

std::vector<BenchResult> bench_quant(const BenchQuantOptions& options) {
  at::set_num_threads(options.threads);
  at::manual_seed(1);
  Bench bench(options);
  activations(bench, options.quick);
  weights(bench, options.quick);
  return bench.figures;
}

}  // namespace terse
