#include "comm/vote.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace terse {
namespace {

std::vector<Ballot> ballots(size_t ranks) {
  return std::vector<Ballot>(ranks, {.step = 5, .plan_hash = 9, .squares = 4, .loss = 2});
}

TEST(Vote, MeansOverRanks) {
  auto b = ballots(3);
  b[1].squares = 16, b[2].squares = 7;
  b[2].loss = 5;
  b[0].next_phase = static_cast<int64_t>(Phase::codec), b[0].next_residual_epoch = 1;
  const Tally t = tally(b);
  EXPECT_DOUBLE_EQ(t.norm, 3);
  EXPECT_DOUBLE_EQ(t.loss, 3);
  EXPECT_EQ(t.bad_rank, -1);
  EXPECT_EQ(t.next, (PhasePlan{Phase::codec, 1}));  // rank 0's counts
}

TEST(Vote, NamesTheFirstRankThatIsNotFinite) {
  auto b = ballots(4);
  b[3].loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(tally(b).bad_rank, 3);
  b[2].squares = std::numeric_limits<double>::infinity();
  EXPECT_EQ(tally(b).bad_rank, 2);
}

TEST(Vote, OneRankThatWasAskedToStopStopsAll) {
  auto b = ballots(3);
  EXPECT_FALSE(tally(b).stop);
  b[2].stop = 1;
  EXPECT_TRUE(tally(b).stop);
  b[0].loss = std::numeric_limits<double>::quiet_NaN();  // in a step that does not count, too
  EXPECT_TRUE(tally(b).stop);
}

TEST(Vote, DisagreementNamesRanksAndValues) {
  const auto message = [](auto change) {
    auto b = ballots(4);
    change(b[2]);
    try {
      tally(b);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::disagree);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(message([](Ballot& b) { b.step = 6; }).find("rank 2 has 6"), std::string::npos);
  EXPECT_NE(message([](Ballot& b) { b.plan_hash = 1; }).find("bucket plan"), std::string::npos);
  EXPECT_NE(message([](Ballot& b) { b.phase = 2; }).find("phase"), std::string::npos);
  EXPECT_NE(message([](Ballot& b) { b.residual_epoch = 2; }).find("epoch"), std::string::npos);
  EXPECT_NE(message([](Ballot& b) { b.message_scale = 0.5; }).find("rank 2 has 0.5"),
            std::string::npos);
}

}  // namespace
}  // namespace terse
