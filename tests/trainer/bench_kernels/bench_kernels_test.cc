#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "trainer/bench/quant/bench_quant.h"
#include "trainer/bench/sparse/bench_sparse.h"

namespace terse {
namespace {

std::vector<std::string> names_of(const std::vector<BenchResult>& results) {
  std::vector<std::string> names;
  for (const BenchResult& r : results) {
    names.push_back(r.name);
    EXPECT_GT(r.value, 0.0) << r.name;
    EXPECT_GT(r.ratio, 0.0) << r.name;
    const bool dense = r.name.starts_with("nm.");
    const char* product = r.name.starts_with("product.") ? "product.bf16" : "memcpy";
    EXPECT_EQ(r.baseline, dense ? "at::mm fp32" : product) << r.name;
    EXPECT_EQ(r.lower_is_better, !dense) << r.name;
  }
  return names;
}

TEST(BenchSparse, HasItsRows) {
  EXPECT_THAT(names_of(bench_sparse({.threads = 1, .quick = true})),
              testing::ElementsAre(
                  "sparse.mask_24", "sparse.mask_18", "sparse.mask_132", "sparse.mask_unstructured",
                  "sparse.blend_24", "sparse.refresh_24", "sparse.hard_gradient_24",
                  "sparse.srste_24", "nm.product_2_4", "nm.product_1_4", "nm.product_4_8"));
}

TEST(BenchQuant, HasTheRowsWithTargets) {
  const std::vector<std::string> names = names_of(bench_quant({.threads = 2, .quick = true}));
  EXPECT_THAT(names, testing::IsSupersetOf({"quant.hadamard_int4", "quant.hadamard_int8",
                                            "quant.hadamard_int4_small", "quant.q4_0",
                                            "quant.nvfp4", "quant.ct_nvfp4", "quant.onnx_int4"}));
  EXPECT_EQ(std::set(names.begin(), names.end()).size(), names.size()) << "a name stands twice";
}

}  // namespace
}  // namespace terse
