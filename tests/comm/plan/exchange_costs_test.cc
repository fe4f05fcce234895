// Bytes and computing time of exchanges by formula, against the arithmetic of docs/protocol.md.
#include "comm/plan/exchange_costs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "comm/codec/topk.h"
#include "comm/exchange_codec.h"

namespace terse::testing {
namespace {

// A matrix of 1000 x 1000 and a vector of 1000.
Bucket bucket() {
  return {0, 1'001'000, {{"m", 0, 1'000'000, 1000, 1000}, {"v", 1'000'000, 1000, 1, 1000}}};
}

ExchangeOptions of(const char* codec) {
  ExchangeOptions options;
  options.codec = codec;
  return options;
}

int64_t bytes(const ExchangeOptions& options, int64_t ranks, const Bucket& of = bucket()) {
  int64_t sum = 0;
  for (const Transfer& t : exchange_transfers(options, of, ranks)) sum += t.bytes;
  return sum;
}

TEST(ExchangeTransfers, DenseIsARingsVolume) {
  // Chunks of two ranks: 64 ceil(1001000 / 128) = 500,544 and 500,456.
  EXPECT_EQ(bytes(of("fp32"), 2), (500'456 + 500'544) * 4);
  EXPECT_EQ(bytes(of("bf16"), 2), (500'456 + 500'544) * 2);
  EXPECT_EQ(bytes(of("fp32"), 1), 0);
  ExchangeOptions ring = of("fp32");
  ring.backend_all_reduce = true;
  EXPECT_EQ(exchange_transfers(ring, bucket(), 4).size(), 1u);
  EXPECT_EQ(bytes(ring, 4), 2 * 1'001'000 * 4 * 3 / 4);
}

TEST(ExchangeTransfers, OneBitIsBitsScalesAndHeaders) {
  // A scale a parameter. To the owner: header, 500,456 / 64 words, two scales (rounded up to 8);
  // from it: its chunk is inside the matrix: one scale and padding.
  const int64_t words = (500'456 + 63) / 64, own = 500'544 / 64;
  EXPECT_EQ(bytes(of("onebit"), 2), 64 + 8 * words + 8 + 64 + 8 * own + 8);
  for (const Transfer& t : exchange_transfers(of("onebit"), bucket(), 100))
    EXPECT_EQ(t.messages, 99);
}

TEST(ExchangeTransfers, TopKCountsExpectedEntries) {
  ExchangeOptions options = of("topk");
  // 1,000 entries of 4 bytes; a gap needs a second byte with probability 0.999^128.
  const double entries = 1000 * (4 + 1 + std::pow(0.999, 128));
  EXPECT_NEAR(sparse_bytes(1000, 1'000'000, false), entries, 1);
  // On two ranks everybody's message to everybody: lengths, header, head, entries, the vector.
  EXPECT_NEAR(static_cast<double>(bytes(options, 2)), 8 + 64 + 4 + entries + 4000, 8);
  EXPECT_EQ(exchange_transfers(options, bucket(), 2).size(), 2u);
  EXPECT_EQ(exchange_transfers(options, bucket(), 3).size(), 4u);
  // Gathered volume grows with the ranks, scattered volume does not.
  ExchangeOptions gather = options;
  gather.sparse = "gather";
  EXPECT_EQ(bytes(gather, 65), 64 * bytes(gather, 2));
  EXPECT_LT(bytes(options, 64), 3 * bytes(options, 2));
}

// A bucket so large that chunks of 64 elements cost 4096 ranks nothing: n / N is 61,035.
TEST(ExchangeTransfers, ThousandsOfRanksPayForHeadersButForGather) {
  const int64_t n = 250'000'000;
  const Bucket large{0, n, {{"m", 0, n, 10'000, 25'000}}};
  for (const int64_t ranks : {1024, 4096}) {
    const double share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
    const double ring = 2 * static_cast<double>(n) * share * 4;
    // Chunks are rounded up to 64 elements: by 0.1 % at most.
    EXPECT_NEAR(static_cast<double>(bytes(of("fp32"), ranks, large)), ring, 0.002 * ring);
  }
  ExchangeOptions gather = of("topk"), scatter = gather;
  gather.sparse = "gather";
  scatter.sparse = "scatter";
  EXPECT_EQ(bytes(gather, 4096, large) * 1023, bytes(gather, 1024, large) * 4095);
  // Twice a rank more: a header of 64 bytes, a length of 8, the head of the segment and the
  // rounding to 8 bytes; of the rest only (N - 1) / N grows.
  const int64_t grown = bytes(scatter, 4096, large) - bytes(scatter, 1024, large);
  const int64_t more = 2 * (4096 - 1024);
  EXPECT_GE(grown, more * (64 + 8 + 4));
  EXPECT_LE(grown, more * (64 + 8 + 4 + 8) + bytes(gather, 2, large) / 500);
}

// The estimate of indices against a real message with evenly spread entries.
TEST(ExchangeTransfers, TopKIsWhatTheCodecMakesOfEvenlySpreadEntries) {
  std::vector<float> x(1'001'000);
  uint64_t state = 1;
  for (float& v : x) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    v = static_cast<float>(state >> 40) - 8388608.0f;
  }
  for (const double density : {0.0005, 0.001, 0.01, 0.1, 0.3}) {
    ExchangeOptions options = of("topk");
    options.density = density;
    const Bucket b = bucket();
    const auto codec = make_codec(options)->bind(b, {Range{0, b.size}});
    std::vector<uint64_t> room(static_cast<size_t>(codec->bytes(0) / 8 + 1));
    const std::span<std::byte> message = std::as_writable_bytes(std::span(room));
    int64_t used = 0;
    codec->encode({}, {.message = x.data()}, std::span(&message, 1), std::span(&used, 1));
    // Gaps of a thousand random entries scatter by a percent.
    EXPECT_NEAR(static_cast<double>(bytes(options, 2) - 8), static_cast<double>(used),
                0.01 * static_cast<double>(used))
        << density;
  }
}

TEST(ExchangeTransfers, LowRankIsTwoDenseAveragesOfFactors) {
  // Rank 4: P is 4 x 1000 and the vector, Q is 4 x 1000.
  const auto dense = [](int64_t n) {
    const Range own = chunk_of(n, 2, 0);
    return (n - own.size() + own.size()) * 4;
  };
  EXPECT_EQ(bytes(of("lowrank"), 2), dense(5000) + dense(4000));
  // A rank that saves less than half sends the matrix whole.
  ExchangeOptions wide = of("lowrank");
  wide.rank = 300;
  EXPECT_EQ(bytes(wide, 2), dense(1'001'000));
}

TEST(ExchangeCosts, AnOwnerEncodesItsShareAlone) {
  BucketPlan plan;
  plan.buckets.push_back(bucket());
  const ExchangeSpeed speed{.items = {{4e-9, 2e-9}, {6e-9, 3e-9}, {1e-9, 1e-9}}, .per_message = {}};
  const auto alone = exchange_costs(of("onebit"), plan, 1, speed);
  const auto two = exchange_costs(of("onebit"), plan, 2, speed);
  const double n = 1'001'000;
  EXPECT_DOUBLE_EQ(alone[0].rounds[1].work.alone, n * 6e-9);
  EXPECT_DOUBLE_EQ(two[0].rounds[0].work.alone, n * 4e-9);
  EXPECT_NEAR(two[0].rounds[1].work.alone, n * (2e-9 + 4e-9 / 2), 1e-12);
  EXPECT_NEAR(two[0].rounds[1].work.team, n * (1e-9 + 2e-9 / 2), 1e-12);
  EXPECT_DOUBLE_EQ(two[0].finish.alone, n * 1e-9);
  EXPECT_THROW(exchange_costs(of("lowrank"), plan, 2, speed), std::logic_error);
}

TEST(ExchangeCosts, GatheredMessagesAreAllDecoded) {
  BucketPlan plan;
  plan.buckets.push_back(bucket());
  ExchangeOptions options = of("topk");
  options.sparse = "gather";
  const ExchangeSpeed speed{.items = {{4e-9, 2e-9}, {0, 0}, {1e-9, 1e-9}},
                            .per_message = {3e-9, 2e-9}};
  const auto costs = exchange_costs(options, plan, 5, speed);
  EXPECT_NEAR(costs[0].finish.alone, 1'001'000 * (1e-9 + 4 * 3e-9), 1e-12);
}

TEST(ExchangeChoices, AreTheRecipesOwnWhereItHasAny) {
  ExchangeOptions recipe = of("bits");
  recipe.bits = 3;
  recipe.density = 0.01;
  recipe.rank = 8;
  std::vector<std::string> names;
  for (const ExchangeChoice& choice : exchange_choices(recipe)) names.push_back(choice.name);
  EXPECT_EQ(names, (std::vector<std::string>{"fp32", "bf16", "onebit", "bits 8", "bits 4", "bits 3",
                                             "topk 0.01", "lowrank 8"}));
}

}  // namespace
}  // namespace terse::testing
