// Starts canaries_ranks.cc on 2 ranks.
#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <tuple>

#include "tests/support/processes.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

class CanariesSlow : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

// Every codec, error control and exchange that goes with the optimizer ends as the dense run with
// a stated part of the steps, or better.
TEST_P(CanariesSlow, EndNearTheDenseRun) {
  const auto [problem, optimizer] = GetParam();
  testing::Launch launch;
  launch.ranks = 2;
  launch.command = {TERSE_RANKS_PROGRAM, "canaries", problem, optimizer};
  launch.environment = {{"OMP_NUM_THREADS", "1"}};
  launch.limit = std::chrono::seconds(300);
  const testing::Outcome o = testing::run_ranks(launch);
  EXPECT_TRUE(o.ok()) << o.text();
  std::cout << o.exits.front().output;
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<const char*, const char*>>& one) {
  return test_name(std::string(std::get<0>(one.param)) + " " + std::get<1>(one.param));
}

INSTANTIATE_TEST_SUITE_P(Problems, CanariesSlow,
                         ::testing::Combine(::testing::Values("logistic", "mlp"),
                                            ::testing::Values("adamw", "onebit_adam",
                                                              "zero_one_adam", "dgc")),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Long, CanariesSlow, ::testing::Values(std::tuple("long", "onebit_adam")),
                         name_of);

}  // namespace
}  // namespace terse
