#include "trainer/bench/exchange/bench_exchange.h"

#include <gtest/gtest.h>

#include <set>

namespace terse {
namespace {

// Two layers and a rest, so that buckets, matrices and vectors all occur.
TEST(BenchExchange, MeasuresEachExchangeAgainstDenseBf16) {
  BenchExchangeOptions options;
  options.quick = true;
  options.elements = 2 * (1 << 20) + 1000;
  std::set<std::string> names;
  for (const BenchResult& result : bench_exchange(Group::single(), options)) {
    names.insert(result.name);
    EXPECT_GT(result.value, 0.0) << result.name;
    EXPECT_GT(result.ratio, 0.0) << result.name;
    EXPECT_EQ(result.baseline, "exchange.bf16");
    EXPECT_TRUE(result.lower_is_better);
    if (result.name == result.baseline) {
      EXPECT_EQ(result.ratio, 1.0);
    }
  }
  EXPECT_EQ(names, (std::set<std::string>{"exchange.bf16", "exchange.fp32", "exchange.onebit",
                                          "exchange.int4", "exchange.topk", "exchange.lowrank"}));
}

}  // namespace
}  // namespace terse
