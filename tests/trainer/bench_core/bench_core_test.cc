#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "trainer/bench/core/bench_result.h"
#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

const std::vector<BenchResult> kResults = {
    {"train.bf16", 1e4, "tokens/s", "torch_eager", 2.5},
    {"encode.onebit", 12.5, "GB/s", "memcpy", 1.25, true},
};

TEST(BenchJson, HasTheDocumentedKeysAndNoOthers) {
  const std::string text = bench_json({.threads = 3, .elements = 77}, kResults);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json.at("machine").at("threads"), 3);
  EXPECT_EQ(json.at("machine").at("elements"), 77);
  for (const char* key : {"processor", "cores", "isa"})
    EXPECT_TRUE(json.at("machine").contains(key)) << key;
  EXPECT_EQ(json.at("results"), nlohmann::json::parse(
                                    R"([{"name": "train.bf16", "value": 1e4, "unit": "tokens/s",
                     "baseline": "torch_eager", "ratio": 2.5, "lower_is_better": false},
                    {"name": "encode.onebit", "value": 12.5, "unit": "GB/s",
                     "baseline": "memcpy", "ratio": 1.25, "lower_is_better": true}])"));
  const auto bare = nlohmann::json::parse(bench_json({}, {}))["machine"];
  EXPECT_FALSE(bare.contains("elements") || bare.contains("ranks"));
  EXPECT_EQ(nlohmann::json::parse(bench_json({.ranks = 2}, {}))["machine"]["ranks"], 2);
}

TEST(BenchTable, OneLineAResult) {
  EXPECT_EQ(bench_table(kResults),
            "train.bf16                            10000 tokens/s        2.500 of torch_eager\n"
            "encode.onebit                          12.5 GB/s            1.250 of memcpy\n");
}

TEST(Pairs, TakeTurnsAfterOneUnmeasuredCallEach) {
  std::string calls;
  const PairedTime time = measure_pairs([&] { calls += 'b'; }, [&] { calls += 'w'; }, 2);
  EXPECT_EQ(calls, "bwbwbw");
  EXPECT_GE(time.seconds, 0.0);
}

TEST(Pairs, MedianIsNotMovedByAnOutlier) {
  EXPECT_EQ(median({9e9, 1, 3}), 3);
  EXPECT_EQ(median({4}), 4);
}

}  // namespace
}  // namespace terse
