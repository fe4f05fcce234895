// `terse lab mask` against masks and weights composed in ATen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/comm/exchange/deepspeed.h"
#include "tests/trainer/lab/lab.h"

namespace terse::testing {
namespace {

at::Tensor bytes_tensor(const SafetensorsFile& file, const std::string& name) {
  const TensorView view = file.require(name);
  const auto values = view.as<uint8_t>();
  at::Tensor out = at::empty(view.shape, at::kByte);
  std::copy(values.begin(), values.end(), out.data_ptr<uint8_t>());
  return out;
}

at::Tensor mask_of(const at::Tensor& w, int64_t keep, int64_t of) {
  const at::Tensor groups = w.abs().reshape({-1, of});
  const at::Tensor order = groups.argsort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
  return at::zeros_like(groups).scatter_(1, order.slice(1, 0, keep), 1.0).reshape(w.sizes());
}

TEST(LabMask, WritesMaskAndWeightOfAStep) {
  at::manual_seed(1);
  const Tensors inputs = {{"a", at::randn({3, 4, 32})}, {"b", at::randn({5, 16}).mul(3).round()}};
  const auto files = Lab().run({"mask", "--pattern", "1:8", "--schedule", "mask_linear", "--step",
                                "70", "--steps", "100", "--set", "beta_end=0", "--set", "fine=0"},
                               {inputs});
  for (const auto& [name, w] : inputs) {
    const at::Tensor m = mask_of(w, 1, 8);
    EXPECT_TRUE(at::equal(bytes_tensor(files[0], name + ".mask"), m.to(at::kByte))) << name;
    // beta = 1 - 70 / 100, in fp64, then rounded to fp32.
    const at::Tensor expected = w * (m + (1 - m) * static_cast<float>(1.0 - 0.7));
    EXPECT_TRUE(at::equal(tensor_of(files[0], name + ".weight"), expected)) << name;
  }
  EXPECT_EQ(files[0].metadata().at("stage"), "progressive");
  EXPECT_EQ(files[0].metadata().at("pattern"), "1:8");
}

TEST(LabMask, WithoutAStepAsServed) {
  at::manual_seed(2);
  const Tensors inputs = {{"a", at::randn({4, 32})}};
  const auto files =
      Lab().run({"mask", "--pattern", "2:4", "--schedule", "structure_stepwise"}, {inputs});
  const at::Tensor& w = inputs.at("a");
  EXPECT_TRUE(at::equal(tensor_of(files[0], "a.weight"), w * mask_of(w, 2, 4)));
  EXPECT_EQ(files[0].metadata().at("step"), "served");
}

}  // namespace
}  // namespace terse::testing
