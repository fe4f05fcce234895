#include "trainer/bench/sparse/nm_products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <string>

#include "base/half.h"
#include "export/nm_matrix.h"
#include "sparsity/mask.h"
#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

constexpr int64_t kTokens = 512, kRows = 2048, kColumns = 1024;

// Prunes `dense` in place, rounds it to bf16 and packs it.
NmMatrix packed(const std::string& pattern, at::Tensor& dense) {
  dense = dense.to(at::kBFloat16).to(at::kFloat);
  auto* w = dense.mutable_data_ptr<float>();
  std::vector<uint8_t> mask(static_cast<size_t>(kRows * mask_stride(kColumns)));
  select_mask(parse_pattern(pattern), w, kRows, kColumns, mask.data());
  blend_rows({.f32 = w}, mask.data(), 0.0f, kRows, kColumns, {.f32 = w});
  NmMatrix m;
  m.rows = kRows;
  m.columns = kColumns;
  m.layout = nm_layout(parse_pattern(pattern));
  m.dtype = DType::bf16;
  m.positions =
      unpack_positions(m.layout, pack_positions(m.layout, mask.data(), kRows, kColumns, pattern),
                       kRows, kColumns, pattern);
  for (size_t i = 0; i < m.positions.size(); ++i) {
    const auto group = static_cast<int64_t>(i) / m.layout.keep;
    const uint16_t h = bf16_from_float(w[group * m.layout.of + m.positions[i]]);
    const auto bytes = bytes_of(&h, 1);
    m.values.insert(m.values.end(), bytes.begin(), bytes.end());
  }
  return m;
}

BenchResult measured(const std::string& pattern, const std::string& name, int pairs) {
  const at::Tensor x = at::randn({kTokens, kColumns});
  at::Tensor dense = at::randn({kRows, kColumns});
  const NmMatrix matrix = packed(pattern, dense);
  at::Tensor y = at::empty({kTokens, kRows}), reference = at::empty({kTokens, kRows});
  const at::Tensor turned = dense.t();
  const auto work = [&] {
    at::parallel_for(0, kRows, 64, [&](int64_t begin, int64_t end) {
      nm_multiply(matrix, x.const_data_ptr<float>(), kTokens, begin, end,
                  y.mutable_data_ptr<float>());
    });
  };
  const PairedTime time = measure_pairs([&] { at::mm_out(reference, x, turned); }, work, pairs);
  return {.name = name,
          .value = static_cast<double>(kTokens * kRows * kColumns) / time.seconds / 1e9,
          .unit = "Gmac/s",
          .baseline = "at::mm fp32",
          .ratio = 1.0 / time.ratio};
}

}  // namespace

std::vector<BenchResult> bench_nm_products(bool quick) {
  const int pairs = quick ? 7 : 25;
  return {measured("2:4", "nm.product_2_4", pairs), measured("1:4", "nm.product_1_4", pairs),
          measured("4:8", "nm.product_4_8", pairs)};
}

}  // namespace terse
