#include "trainer/bench/quant/lossless.h"

#include <ATen/ATen.h>

#include <cstring>
#include <functional>
#include <string>

#include "base/error.h"
#include "export/byte_planes.h"
#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

using Work = std::function<void()>;

std::vector<std::byte> encoded(std::span<const std::byte> data) {
  PlaneEncoder encoder(DType::bf16);
  std::vector<std::byte> out;
  out.reserve(data.size());
  encoder.add(data, out);
  encoder.finish(out);
  return out;
}

}  // namespace

std::vector<BenchResult> bench_lossless(bool quick) {
  const at::Tensor weight = at::randn({quick ? 2048 : 16384, 1024}).mul_(0.02).to(at::kBFloat16);
  const std::span data(static_cast<const std::byte*>(weight.const_data_ptr()), weight.nbytes());
  const std::vector<std::byte> coded = encoded(data);
  at::Tensor back = at::empty_like(weight);
  const Work copy = [&] { back.copy_(weight); };
  const auto measured = [&](const char* name, const Work& work) -> BenchResult {
    const PairedTime time = measure_pairs(copy, work, quick ? 7 : 25);
    return {.name = name,
            .value = time.seconds * 1e9 / static_cast<double>(weight.numel()),
            .unit = "ns/element",
            .baseline = "memcpy",
            .ratio = time.ratio,
            .lower_is_better = true};
  };
  const std::string where = "bench";
  std::vector<BenchResult> figures = {
      measured("quant.planes_encode", [&] { encoded(data); }), measured("quant.planes_decode", [&] {
        auto* to = static_cast<std::byte*>(back.mutable_data_ptr());
        ByteCursor in(coded, where, "planes");
        decode_planes(DType::bf16, weight.numel(), in, [&](std::span<const std::byte> part) {
          std::memcpy(to, part.data(), part.size());
          to += part.size();
        });
      })};
  TERSE_CHECK(at::equal(back, weight), "lossless");
  return figures;
}

}  // namespace terse
