// The cost model on real ranks (tests/comm/plan/plan_ranks.cc).
#include <gtest/gtest.h>

#include "tests/support/processes.h"

namespace terse::testing {
namespace {

using namespace std::chrono_literals;

Outcome run(int ranks, const std::string& what) {
  return run_ranks({.launcher = Started::environment,
                    .ranks = ranks,
                    .command = {TERSE_RANKS_PROGRAM, what},
                    .environment = {},
                    .limit = 60s});
}

TEST(PlanRanks, PredictedBytesAreTheBytesSent) {
  for (const int ranks : {1, 2, 4}) {
    const Outcome outcome = run(ranks, "costs");
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

TEST(PlanRanks, WhatIsMeasuredIsTheSameEverywhere) {
  for (const int ranks : {1, 3}) {
    const Outcome outcome = run(ranks, "probes");
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

}  // namespace
}  // namespace terse::testing
