// `terse plan` from recipe to report, with computing given instead of measured.
#include "trainer/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace terse::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kRecipe =
    "[model]\nlayers = 2\nwidth = 64\nheads = 2\nhidden = 128\ncontext = 32\n"
    "[data]\nvocab = 512\n[train]\nbatch_tokens = 128\n";

PlanReport plan_of(const std::string& optimizer, PlanOptions options = {}) {
  std::vector<std::string> sets = {"optim.name=\"" + optimizer + "\""};
  if (optimizer == "dgc") sets.emplace_back("exchange.codec=\"topk\"");
  if (optimizer == "onebit_adam") sets.emplace_back("exchange.codec=\"onebit\"");
  if (options.step_seconds == 0) options.step_seconds = 0.01;
  options.quick = true;
  return make_plan(parse_recipe(kRecipe, "r.toml", sets), options);
}

std::vector<std::string> names(const PlanReport& report) {
  std::vector<std::string> all;
  for (const PlannedExchange& e : report.exchanges) all.push_back(e.name);
  return all;
}

TEST(Plan, OffersWhatTheOptimizerCanUse) {
  using ::testing::ElementsAre;
  EXPECT_EQ(plan_of("adamw").exchanges.size(), 7u);
  EXPECT_EQ(plan_of("onebit_adam").exchanges.size(), 7u);
  EXPECT_THAT(names(plan_of("sgd")), ElementsAre("fp32", "bf16"));
  EXPECT_THAT(names(plan_of("dgc")), ElementsAre("fp32", "bf16", "topk 0.001"));
}

// A slow enough link is nothing but bytes: the pick sends least, and no step is
// shorter than the wire's time.
TEST(Plan, OnASlowLinkBytesDecide) {
  PlanOptions options;
  options.link = {.latency = 0, .per_message = 0, .bytes_per_second = 1000};
  const PlanReport r = plan_of("adamw", options);
  for (const PlannedExchange& e : r.exchanges) {
    EXPECT_GE(e.prediction.wire_bytes, r.exchanges[r.pick].prediction.wire_bytes) << e.name;
    EXPECT_GE(e.prediction.seconds, static_cast<double>(e.prediction.wire_bytes) / 1000) << e.name;
  }
}

TEST(Plan, MemoryAndOptimizerAreSums) {
  const PlanReport r = plan_of("adamw");
  EXPECT_EQ(r.optimizer_bytes, 8 * r.parameters);
  EXPECT_EQ(r.exchanges[0].memory.weights, 4 * r.parameters);
  EXPECT_NEAR(r.step.forward + r.step.backward + r.step.apply, 0.01, 1e-12);
}

TEST(Plan, RanksOfANodeShareItsLink) {
  const Link node{.latency = 1e-3, .per_message = 0, .bytes_per_second = 1000};
  EXPECT_DOUBLE_EQ(link_of_rank(node, 2, 1).bytes_per_second, 1000);
  // Of 7 messages of a rank of 8, 4 leave its node of 4; four ranks share the link.
  EXPECT_DOUBLE_EQ(link_of_rank(node, 8, 4).bytes_per_second, 1000.0 / 4 * 7 / 4);
  EXPECT_DOUBLE_EQ(link_of_rank(node, 4, 4).bytes_per_second, 1000);
}

TEST(Plan, CrossoverIsFoundToAThousandth) {
  const auto at = [](double zero) { return [zero](double x) { return x - zero; }; };
  EXPECT_NEAR(crossover(1, 1e6, at(123)), 123, 0.2);
  EXPECT_EQ(crossover(1, 1e6, at(0.5)), 0);
  EXPECT_TRUE(std::isinf(crossover(1, 1e6, at(2e6))));
}

// The figure that is printed is the speed at which the two predictions meet.
TEST(Plan, DenseWinsFromWhereItSays) {
  const PlanReport r = plan_of("adamw");
  for (const PlannedExchange& e : r.exchanges) {
    if (e.dense || e.dense_from == 0 || std::isinf(e.dense_from)) continue;
    for (size_t i = 0; i < r.links.size(); ++i) {
      const double dense = std::min(r.exchanges[0].seconds_at[i], r.exchanges[1].seconds_at[i]);
      // Only where the difference is beyond the thousandth that counts as equal.
      if (r.links[i] < e.dense_from && e.seconds_at[i] > 1.002 * dense)
        ADD_FAILURE() << e.name << " at " << r.links[i];
    }
  }
}

TEST(Plan, TextSaysWhatItIsAndWhatItIsNot) {
  const std::string text = plan_text(plan_of("adamw"));
  EXPECT_THAT(text, HasSubstr("pick: "));
  EXPECT_THAT(text, HasSubstr("dense wins from"));
  EXPECT_THAT(text, HasSubstr("ranks that share cores are not modelled"));
  EXPECT_THAT(text, HasSubstr("computing was given"));
}

PlanReport plan_beyond(int64_t ranks, const std::string& sparse) {
  PlanOptions options;
  options.ranks = ranks;
  options.link.bytes_per_second = parse_link_rate("1Gbit");
  options.step_seconds = 0.01;
  options.quick = true;
  return make_plan(parse_recipe(kRecipe, "r.toml",
                                {"exchange.codec=\"topk\"", "exchange.sparse=\"" + sparse + "\""}),
                   options);
}

int64_t wire_bytes(const PlanReport& report, const std::string& name) {
  for (const PlannedExchange& e : report.exchanges)
    if (e.name == name) return e.prediction.wire_bytes;
  ADD_FAILURE() << "no " << name;
  return 0;
}

// Of thousands of ranks nothing can be measured here: what is predicted follows from arithmetic. On
// a bucket of any size: comm_plan's ExchangeTransfers.
TEST(Plan, RanksBeyondTheMachine) {
  const PlanReport reports[] = {plan_beyond(1024, "gather"), plan_beyond(4096, "gather"),
                                plan_beyond(4096, "scatter")};
  for (const PlanReport& r : reports) {
    SCOPED_TRACE(r.options.ranks);
    const int64_t n = r.parameters, others = r.options.ranks - 1;
    ASSERT_LT(n, int64_t{1} << 20);  // one bucket
    const int64_t ring = 2 * n * others / r.options.ranks * 4, dense = wire_bytes(r, "fp32");
    EXPECT_GE(dense, ring);
    EXPECT_LE(dense, ring + 64 * others * 4);  // chunks are rounded up to 64 elements
    for (const PlannedExchange& e : r.exchanges) {
      EXPECT_GE(e.prediction.seconds, r.exchanges[r.pick].prediction.seconds) << e.name;
      EXPECT_GE(e.prediction.seconds,
                static_cast<double>(e.prediction.wire_bytes) / r.options.link.bytes_per_second)
          << e.name;
    }
  }
  const char* topk = "topk 0.001";
  EXPECT_EQ(wire_bytes(reports[1], topk) * 1023, wire_bytes(reports[0], topk) * 4095);
  EXPECT_LT(wire_bytes(reports[2], topk), wire_bytes(reports[1], topk));
}

TEST(Plan, RefusesNoRanks) {
  PlanOptions options;
  options.ranks = 0;
  EXPECT_THROW(plan_of("adamw", options), Error);
}

}  // namespace
}  // namespace terse::testing
