// Starts replicas_ranks.cc, once on 3 ranks: no power of two, and chunks of unequal size.
#include <gtest/gtest.h>

#include <string_view>

#include "tests/support/processes.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

class ReplicasSlow : public ::testing::TestWithParam<const char*> {};

// Every rank's weights are compared byte by byte after 1,000 steps with stalls, another number of
// threads on each rank and a stop in the middle, and with those of a run that nothing disturbed.
TEST_P(ReplicasSlow, HoldTheSameBytesAfterThousandDisturbedSteps) {
  testing::Launch launch;
  const std::string_view name = GetParam();
  launch.ranks = name == "onebit_adam" ? 3 : 2;
  launch.command = {TERSE_RANKS_PROGRAM, "replicas", GetParam()};
  // Six threads on fewer cores: those that wait must not spin.
  launch.environment = {{"OMP_WAIT_POLICY", "passive"}};
  launch.limit = std::chrono::seconds(300);
  const testing::Outcome o = testing::run_ranks(launch);
  EXPECT_TRUE(o.ok()) << o.text();
}

INSTANTIATE_TEST_SUITE_P(Exchanges, ReplicasSlow,
                         ::testing::Values("onebit_adam", "zero_one_adam", "topk_gather",
                                           "topk_scatter", "topk_econtrol", "bits", "lowrank",
                                           "dgc", "lgreco", "auto"),
                         [](const auto& one) { return test_name(one.param); });

}  // namespace
}  // namespace terse
