// SGD against LibTorch's own, and the schedule of densities. DGC itself: dgc_ranks.cc.
#include "optim/dgc.h"

#include <gtest/gtest.h>
#include <torch/optim/sgd.h>

#include "optim/options.h"
#include "tests/optim/torch_oracle.h"

namespace terse {
namespace {

const std::vector<SegmentSpec> kSegments = {{"a", 37, 53, true}, {"norm", 1, 61, false}};

// In dense or in codec phases, which on one rank send everything.
void equals_torch(bool nesterov, Phase phase) {
  at::manual_seed(1);
  const bool compress = phase == Phase::codec;
  Flat flat(kSegments,
            std::make_shared<Dgc>(SgdOptions{0.9, nesterov, 0.1},
                                  DensitySchedule{.density = 1, .sparse_below = 2}, compress, 1));
  ASSERT_EQ(flat.next().phase, phase);
  const auto options = [&](double decay) {
    return torch::optim::SGDOptions(1e-2).momentum(0.9).nesterov(nesterov).weight_decay(decay);
  };
  // mu (u + g) rounds once where torch rounds mu u + g and then mu times that: ulps of a velocity
  // near 3, times 0.01, thirty times.
  expect_equals_torch<torch::optim::SGD>(flat, options, 1.0, 1e-5, 1e-6);
  EXPECT_EQ(flat.next().phase, phase);
}

TEST(OptimOptions, DecayIsForWhomItIsCustomary) {
  EXPECT_EQ(OptimOptions{.name = "adamw"}.decay(), 0.1);
  EXPECT_EQ(OptimOptions{.name = "dgc"}.decay(), 0);
  EXPECT_EQ((OptimOptions{.name = "dgc", .weight_decay = 1e-4}.decay()), 1e-4);
  EXPECT_EQ((OptimOptions{.name = "onebit_adam", .weight_decay = 0}.decay()), 0);
}

TEST(Sgd, EqualsTorch) {
  equals_torch(false, Phase::dense);
}
TEST(Sgd, EqualsTorchWithNesterov) {
  equals_torch(true, Phase::dense);
}
// Its own arithmetic: velocity before the exchange, the step after it.
TEST(Dgc, SendingAllIsTorchsSgd) {
  for (const bool nesterov : {false, true}) equals_torch(nesterov, Phase::codec);
}

TEST(DensitySchedule, FallsInFourStagesAndStays) {
  const DensitySchedule s{.density = 0.001, .ramp_steps = 40};
  EXPECT_EQ(s.at(1), 0.25);
  EXPECT_EQ(s.at(10), 0.25);
  EXPECT_EQ(s.at(11), 0.0625);
  EXPECT_EQ(s.at(21), 0.015625);
  EXPECT_EQ(s.at(40), 0.004);
  EXPECT_EQ(s.at(41), 0.001);
  EXPECT_EQ(s.at(1000000), 0.001);
}

TEST(DensitySchedule, IsNeverSparserThanItsEnd) {
  const DensitySchedule s{.density = 0.1, .ramp_steps = 4};
  EXPECT_EQ(s.at(1), 0.25);
  EXPECT_EQ(s.at(2), 0.1);
}

TEST(DensitySchedule, StaysDenseUntilSparseIsSmaller) {
  const DensitySchedule s{.density = 0.001, .ramp_steps = 40, .sparse_below = 0.05};
  EXPECT_EQ(s.at(1), 0);
  EXPECT_EQ(s.at(20), 0);
  EXPECT_EQ(s.at(21), 0.015625);
  EXPECT_EQ(DensitySchedule{.density = 0.001}.at(1), 0.001);  // no ramp
}

}  // namespace
}  // namespace terse
