// The weight is encoded by refresh(), once a step, and by nothing else: micro-batches between two
// of them multiply the same codes, whatever becomes of the weight meanwhile.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "qat/quantized_linear.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

struct Kind {
  const char* name;
  QatOptions qat;
  const char* pattern = "";
};

QatOptions options(const char* target, int64_t weight_bits, int64_t act_bits, int64_t group = -1,
                   const char* estimator = "") {
  QatOptions o;
  o.target = target;
  o.weight_bits = weight_bits;
  o.act_bits = act_bits;
  o.group = group;
  o.estimator = estimator;
  return o;
}

std::vector<Kind> kinds() {
  return {{"w4a4", options("none", 4, 4)},
          {"w8a8_products_of_codes", options("compressed-tensors:w8a8", 0, 0)},
          {"q4_0_in_groups_of_32", options("gguf:q4_0", 0, 16)},
          {"w4a4_in_groups_of_32", options("none", 4, 4, 32)},
          {"masked", QatOptions(), "2:4"},
          {"masked_w4a4", options("none", 4, 4), "2:4"},
          {"lsq", options("none", 4, 4, -1, "lsq")},
          {"bitnet", options("none", 0, 8, -1, "bitnet")}};
}

SparsityRun sparse(const char* pattern) {
  SparsityRun run;
  run.options.pattern = pattern;
  run.steps = 100;
  return run;
}

struct Pass {
  at::Tensor y, dx;
};

Pass pass(QuantizedLinear& layer, const at::Tensor& values, const at::Tensor& dy) {
  const at::Tensor x = values.detach().clone().requires_grad_();
  const at::Tensor y = layer.forward(x);
  y.backward(dy);
  return {y.detach(), x.grad()};
}

class EncodesOnceAStep : public ::testing::TestWithParam<std::tuple<Kind, at::ScalarType>> {};

TEST_P(EncodesOnceAStep, ForwardTakesWhatTheLatestRefreshMade) {
  at::manual_seed(1);
  const auto& [kind, compute] = GetParam();
  const at::Tensor w = at::randn({64, 256}).mul_(0.05).requires_grad_();
  QuantizedLinear layer("a", w, kind.qat, compute, sparse(kind.pattern));
  const bool calibrates = layer.calibrate();
  layer.refresh(0);
  const at::Tensor x = at::randn({128, 256}).to(compute), dy = at::randn({128, 64}).to(compute);
  if (calibrates) {
    layer.forward(x);
    layer.refresh(0);
  }
  const at::Tensor seen = layer.effective_weight().clone();
  const Pass first = pass(layer, x, dy);
  w.detach().add_(at::randn_like(w).mul_(0.05));
  const Pass second = pass(layer, x, dy);
  EXPECT_TRUE(at::equal(layer.effective_weight(), seen));
  EXPECT_TRUE(at::equal(second.y, first.y));
  EXPECT_TRUE(at::equal(second.dx, first.dx));
  layer.refresh(1);
  EXPECT_FALSE(at::equal(layer.effective_weight(), seen));
  EXPECT_FALSE(at::equal(pass(layer, x, dy).y, first.y));
}

INSTANTIATE_TEST_SUITE_P(Kinds, EncodesOnceAStep,
                         ::testing::Combine(::testing::ValuesIn(kinds()),
                                            ::testing::Values(at::kFloat, at::kBFloat16)),
                         [](const auto& test) {
                           return test_name(fmt::format("{} {}", std::get<0>(test.param).name,
                                                        at::toString(std::get<1>(test.param))));
                         });

}  // namespace
}  // namespace terse
