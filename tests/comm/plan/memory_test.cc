// Memory of exchanges, against sums by hand from what the headers of comm/ say is allocated.
#include "comm/plan/memory.h"

#include <gtest/gtest.h>

namespace terse::testing {
namespace {

// One matrix of 1024 x 1024: chunks of two ranks are halves.
constexpr int64_t kElements = 1 << 20;

BucketPlan plan() {
  return {{{0, kElements, {{"m", 0, kElements, 1024, 1024}}}}};
}

ExchangeMemory of(const char* codec, const char* feedback = "classic", const char* type = "fp32") {
  ExchangeOptions options;
  options.codec = codec;
  options.feedback = feedback;
  options.residual = type;
  return exchange_memory(options, plan(), 2);
}

// Received: two halves; mean: a half; gathered: all. bf16 keeps the rounded message as well.
constexpr int64_t kDense = 4 * (kElements + kElements / 2 + kElements);

TEST(ExchangeMemory, Dense) {
  const ExchangeMemory fp32 = of("fp32"), bf16 = of("bf16");
  EXPECT_EQ(fp32.weights, 4 * kElements);
  EXPECT_EQ(fp32.gradients, 4 * kElements);
  EXPECT_EQ(fp32.messages + fp32.residuals, 0);
  EXPECT_EQ(fp32.buffers, kDense);
  EXPECT_EQ(bf16.buffers, 2 * 3 * kElements + 2 * kElements);
  EXPECT_EQ(bf16.total(), 8 * kElements + bf16.buffers);
}

TEST(ExchangeMemory, OneBitKeepsResidualsOfWorkerAndOwner) {
  const ExchangeMemory m = of("onebit");
  EXPECT_EQ(m.messages, 4 * kElements);
  EXPECT_EQ(m.residuals, 8 * kElements + 8 * kElements / 2);
  // Half a message: header, bits, a scale and padding. To two, from two, own, from all; the mean.
  const int64_t half = 64 + kElements / 2 / 8 + 8;
  EXPECT_EQ(m.buffers, kDense + (2 + 2 + 1 + 2) * half + 4 * kElements / 2);
}

TEST(ExchangeMemory, ErrorControlCountsItsCopies) {
  const int64_t owner = 8 * kElements / 2;
  EXPECT_EQ(of("onebit", "ef21").residuals, 16 * kElements + owner);
  EXPECT_EQ(of("onebit", "econtrol").residuals, 24 * kElements + owner);
  // Half the width, and two fp32 copies of the longest bucket to work in.
  EXPECT_EQ(of("onebit", "classic", "bf16").residuals, 4 * kElements + owner + 8 * kElements);
}

TEST(ExchangeMemory, LowRankKeepsFactorsAndOneBucket) {
  const ExchangeMemory m = of("lowrank");
  EXPECT_EQ(m.residuals, 8 * kElements);
  const int64_t factor = 4 * 1024, dense = 4 * (factor + factor / 2 + factor);
  EXPECT_EQ(m.buffers, kDense + 4 * 3 * factor + 2 * dense + 4 * kElements);
}

TEST(ExchangeMemory, GatheredMessagesGrowWithTheRanks) {
  ExchangeOptions options;
  options.codec = "topk";
  options.sparse = "gather";
  const auto coded = [&](int64_t ranks) {
    ExchangeOptions dense;
    return exchange_memory(options, plan(), ranks).buffers -
           exchange_memory(dense, plan(), ranks).buffers;
  };
  EXPECT_EQ(coded(8) * 5, coded(4) * 9);
}

}  // namespace
}  // namespace terse::testing
