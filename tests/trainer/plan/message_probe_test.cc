// Messages of optimizers that compress, taken without a Reducer.
#include "trainer/plan/message_probe.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace terse::testing {
namespace {

class MessageProbe : public ::testing::TestWithParam<const char*> {};

TEST_P(MessageProbe, ComesFromTheCompressedPhase) {
  const BucketPlan plan = plan_buckets({{"a", 8, 32, true}, {"b", 1, 64, false}}, 1 << 20);
  ASSERT_EQ(plan.buckets.size(), 1u);
  const std::vector<at::Tensor> gradients = {at::linspace(-1, 1, plan.buckets[0].size)};
  OptimOptions options;
  options.name = GetParam();
  const FillMessage fill =
      optimizer_messages(options, {.lossy = true, .ranks = 2, .density = 0.01}, plan, gradients);
  at::Tensor message = at::full_like(gradients[0], std::nan(""));
  const double squares = gradients[0].dot(gradients[0]).item<double>();
  EXPECT_NEAR(fill(0, message), squares, 1e-6 * squares);  // dot() adds in fp32
  EXPECT_TRUE(message.isfinite().all().item<bool>());
  EXPECT_GT(message.dot(gradients[0]).item<double>(), 0);  // momentum of this very gradient
}

INSTANTIATE_TEST_SUITE_P(Optimizers, MessageProbe,
                         ::testing::Values("adamw", "onebit_adam", "zero_one_adam", "dgc"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace terse::testing
