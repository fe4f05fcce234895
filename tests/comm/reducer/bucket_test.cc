#include "comm/bucket.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace terse {
namespace {

std::vector<SegmentSpec> specs() {
  return {{"lm head", 10, 100, true},
          {"norm", 1, 100, false},
          {"b", 20, 100, true},
          {"empty", 0, 100, true},
          {"c", 1, 1, false}};
}

TEST(BucketPlan, FillsUpToTheLimitInOrder) {
  const BucketPlan plan = plan_buckets(specs(), 1100 * 4);
  ASSERT_EQ(plan.buckets.size(), 3u);
  EXPECT_EQ(plan.buckets[0].size, 1100);
  EXPECT_EQ(plan.buckets[1].size, 2000);  // larger than the limit: a bucket of its own
  EXPECT_EQ(plan.buckets[2].size, 1);
  EXPECT_EQ(plan.buckets[0].segments[1].name, "norm");
  EXPECT_EQ(plan.buckets[0].segments[1].offset, 1000);
  EXPECT_FALSE(plan.buckets[0].segments[1].decay);
}

TEST(BucketPlan, ParseUndoesText) {
  const BucketPlan plan = plan_buckets(specs(), 1100 * 4);
  const BucketPlan again = BucketPlan::parse(plan.text());
  EXPECT_EQ(again.text(), plan.text());
  EXPECT_EQ(again.hash(), plan.hash());
  EXPECT_EQ(again.buckets[0].segments[0].name, "lm head");
  EXPECT_EQ(again.buckets[1].size, 2000);
}

TEST(BucketPlan, HashSeesEveryDifference) {
  const uint64_t hash = plan_buckets(specs(), 1100 * 4).hash();
  EXPECT_NE(hash, plan_buckets(specs(), 1099 * 4).hash());
  auto other = specs();
  other[1].decay = true;
  EXPECT_NE(hash, plan_buckets(other, 1100 * 4).hash());
  std::swap(other[0], other[1]);
  EXPECT_NE(hash, plan_buckets(other, 1100 * 4).hash());
}

TEST(BucketPlan, DamagedTextIsAnErrorThatNamesTheLine) {
  const char* bad[] = {"",
                       "terse-plan 2\n",
                       "terse-plan 1\n0 0 1 5 1 a",
                       "terse-plan 1\n0 0 1 5 2 a\n",
                       "terse-plan 1\n0 0 -1 5 1 a\n",
                       "terse-plan 1\n0 0 1 x 1 a\n",
                       "terse-plan 1\n1 0 1 5 1 a\n",
                       "terse-plan 1\n0 1 1 5 1 a\n",
                       "terse-plan 1\n0 0 1 5 1 \n",
                       "terse-plan 1\n0 0 1 5 1 a\n0 5 1 5 1 a\n",
                       "terse-plan 1\n0 0 1 5 1 a\n2 0 1 5 1 b\n",
                       "terse-plan 1\n0 0 9999999999 9999999999 1 a\n",
                       "terse-plan 1\n0 0 99999999999999999999 1 1 a\n"};
  for (const char* text : bad) try {
      BucketPlan::parse(text);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file);
      EXPECT_NE(std::string(e.what()).find("line"), std::string::npos);
    }
}

TEST(ChunkOf, CoversTheBucketInOrder) {
  for (int64_t ranks = 1; ranks <= 9; ++ranks)
    for (int64_t n : {0, 1, 63, 64, 65, 127, 128, 129, 575, 576, 577, 1000, 4097, 99'999}) {
      int64_t at = 0;
      for (int64_t j = 0; j < ranks; ++j) {
        const Range chunk = chunk_of(n, ranks, j);
        EXPECT_EQ(chunk.begin, at);
        EXPECT_TRUE(chunk.begin % 64 == 0 || chunk.begin == n);
        EXPECT_LE(chunk.size(), 64 * ((n + 64 * ranks - 1) / (64 * ranks)));
        at = chunk.end;
      }
      EXPECT_EQ(at, n);
    }
}

}  // namespace
}  // namespace terse
