// Starts steady_ranks.cc: what exchange.h says about allocation, and the same of whole steps
// of the Reducer, on 1, 2 and 4 ranks.
#include <gtest/gtest.h>

#include "tests/support/processes.h"

namespace terse {
namespace {

TEST(SteadyState, AllocatesNoBuffers) {
  for (const int ranks : {1, 2, 4}) {
    testing::Launch launch;
    launch.ranks = ranks;
    launch.command = {TERSE_RANKS_PROGRAM};
    launch.limit = std::chrono::seconds(120);
    const testing::Outcome outcome = testing::run_ranks(launch);
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

}  // namespace
}  // namespace terse
