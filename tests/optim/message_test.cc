// What Optimizer::message() says of the gradient it reads, in dense and in codec phases.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "comm/sums.h"
#include "optim/adamw.h"
#include "optim/dgc.h"
#include "optim/onebit_adam.h"
#include "optim/zero_one_adam.h"
#include "tests/optim/flat.h"

namespace terse {
namespace {

// Several blocks; the last is short and begins where decay ends.
const std::vector<SegmentSpec> kSegments = {{"a", 300, 170, true}, {"norm", 1, 61, false}};
constexpr double kLr = 1e-3;

// Flat::message() compares the sum itself.
void check(const std::shared_ptr<Optimizer>& optimizer) {
  at::manual_seed(1);
  Flat flat(kSegments, optimizer);
  bool coded = false;
  for (int64_t t = 1; t <= 4; ++t) {
    flat.bucket_gradient().normal_();
    coded = coded || flat.next().phase == Phase::codec;
    flat.message(t, kLr, 0.5);
    flat.step(t, kLr);
  }
  EXPECT_TRUE(coded);
}

void check_not_finite(const std::shared_ptr<Optimizer>& optimizer) {
  Flat flat(kSegments, optimizer);
  for (int64_t t = 1; t <= 3; ++t) flat.fill_gradient(1), flat.step(t, kLr);
  ASSERT_EQ(flat.next().phase, Phase::codec);
  const StepContext context{.step = 4, .learning_rate = kLr, .plan = flat.next()};
  const at::Tensor out = at::empty_like(flat.bucket_gradient());
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f}) {
    flat.fill_gradient(1);
    flat.bucket_gradient()[40000] = bad;
    const double squares = flat.optimizer().message(context, 0, out);
    EXPECT_EQ(std::isfinite(squares), std::isfinite(bad)) << bad;
  }
}

const AdamOptions kAdam{};

std::vector<std::shared_ptr<Optimizer>> compressing() {
  return {std::make_shared<AdamW>(kAdam, Phase::codec),
          std::make_shared<OnebitAdam>(kAdam, FreezeRule::fixed(2), 0.1),
          std::make_shared<ZeroOneAdam>(kAdam, ZeroOneSchedule{.freeze = 2, .local_steps = 1}, 0.1),
          std::make_shared<Dgc>(SgdOptions{0.9, true, 0.1},
                                DensitySchedule{.density = 0.01, .ramp_steps = 0}, true, 1)};
}

TEST(Message, ReturnsTheSumOfSquaresOfTheGradient) {
  for (const auto& optimizer : compressing()) check(optimizer);
}

TEST(Message, SaysWhereAGradientIsNotFinite) {
  for (const auto& optimizer : compressing()) check_not_finite(optimizer);
}

}  // namespace
}  // namespace terse
