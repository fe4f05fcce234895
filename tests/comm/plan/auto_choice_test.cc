#include "comm/plan/auto_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace terse {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kBytes = 1'000'000;

// Sends a part of each bucket; encoding takes `work` seconds.
AutoCandidate candidate(const std::string& name, double part, double work, size_t buckets = 3) {
  const auto bytes = static_cast<int64_t>(part * static_cast<double>(kBytes));
  const BucketCost cost{.rounds = {{{work, work}, {1, bytes}}, {{0, 0}, {1, bytes}}},
                        .finish = {0, 0}};
  return {name, part >= 0.5, std::vector<BucketCost>(buckets, cost)};
}

std::vector<AutoCandidate> three() {
  return {candidate("fp32", 1, 0), candidate("bf16", 0.5, 0.001),
          candidate("onebit", 1.0 / 32, 0.004)};
}

// Backward of 100 ms; the last bucket is ready at its end.
StepModel step() {
  return {.forward = 0.05,
          .backward = 0.1,
          .ready = {0.03, 0.06, 0.1},
          .apply = 0.01,
          .cores = 2,
          .ranks = 2};
}

Link link_of(double bytes_per_second) {
  return {.latency = 50e-6, .bytes_per_second = bytes_per_second};
}

TEST(AutoChoice, ASlowLinkIsWorthEncoding) {
  const AutoChoice found =
      choose_exchange(step(), three(), link_of(1e7), std::vector<int64_t>{0, 0, 0});
  EXPECT_THAT(found.choice, ElementsAre(2, 2, 2));
  EXPECT_THAT(found.reason, HasSubstr("% faster; predicted a step: fp32 "));
}

TEST(AutoChoice, AFastLinkIsNot) {
  const AutoChoice found =
      choose_exchange(step(), three(), link_of(1e10), std::vector<int64_t>{0, 0, 0});
  EXPECT_THAT(found.choice, ElementsAre(0, 0, 0));
  EXPECT_THAT(found.reason, HasSubstr("dense wins because nothing else promises 3 %"));
}

// The first bucket hides behind backward as it is. The last one does not, nor does the second round
// of the one before it, which comes after the last one's start (comm/pipeline_order.h).
TEST(AutoChoice, OnlyWhatIsNotHiddenNeedsCompressing) {
  std::vector<AutoCandidate> candidates = {candidate("fp32", 1, 0),
                                           candidate("onebit", 0.03, 0.012)};
  StepModel model = step();
  model.ready = {0.01, 0.02, 0.1};
  const AutoChoice found =
      choose_exchange(model, candidates, link_of(1e8), std::vector<int64_t>{0, 0, 0}, 0.01);
  EXPECT_THAT(found.choice, ElementsAre(0, 1, 1)) << found.reason;
  EXPECT_THAT(found.reason, HasSubstr("by bucket"));
}

TEST(AutoChoice, ASmallPromiseChangesNothing) {
  const std::vector<AutoCandidate> candidates = {candidate("fp32", 1, 0),
                                                 candidate("bf16", 0.9, 0)};
  const std::vector<int64_t> now(3, 0);
  EXPECT_THAT(choose_exchange(step(), candidates, link_of(1e9), now, 0.03).choice,
              ElementsAre(0, 0, 0));
  EXPECT_THAT(choose_exchange(step(), candidates, link_of(1e9), now, 0.0).choice,
              ElementsAre(1, 1, 1));
  // What is in use stays in use as well.
  EXPECT_THAT(choose_exchange(step(), candidates, link_of(1e9), std::vector<int64_t>(3, 1)).choice,
              ElementsAre(1, 1, 1));
}

TEST(AutoChoice, OneRankSendsNothing) {
  StepModel alone = step();
  alone.ranks = 1;
  auto candidates = three();
  for (AutoCandidate& c : candidates)
    for (BucketCost& cost : c.costs)
      for (RoundCost& round : cost.rounds) round.transfer = {};
  EXPECT_THAT(
      choose_exchange(alone, candidates, link_of(1e5), std::vector<int64_t>{0, 0, 0}).choice,
      ElementsAre(0, 0, 0));
}

}  // namespace
}  // namespace terse
