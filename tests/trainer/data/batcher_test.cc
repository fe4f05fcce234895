#include "trainer/data/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.h"
#include "tests/trainer/data/temporary_folder.h"
#include "trainer/data/text_windows.h"

namespace terse {
namespace {

constexpr int64_t kContext = 8;
constexpr int64_t kBegin = 60001;

// Token i of the shard is i: a window's first id says where it lies.
class BatcherTest : public testing::Test {
 protected:
  TextWindows windows(int tokens, WindowUse use = WindowUse::training) {
    std::vector<int32_t> ids(static_cast<size_t>(tokens));
    std::iota(ids.begin(), ids.end(), 0);
    write_shard(FileSystem::real(), folder_.file("s.bin"), ids, 60000);
    return {TokenShard(folder_.file("s.bin")), kContext, kBegin, use};
  }
  static BatcherOptions options(int64_t rows, int64_t rank = 0, int64_t ranks = 1) {
    return {.rows = rows, .seed = 7, .rank = rank, .ranks = ranks};
  }
  TemporaryFolder folder_;
};

std::vector<int64_t> starts(const Batch& batch) {
  std::vector<int64_t> result;
  for (int64_t r = 0; r < batch.rows; ++r) {
    const int64_t* row = batch.ids.data() + r * batch.columns;
    EXPECT_EQ(row[0], kBegin);
    for (int64_t c = 2; c < batch.columns; ++c) EXPECT_EQ(row[c], row[1] + c - 1);
    result.push_back(row[1]);
  }
  return result;
}

// Where the shard's tokens of a window begin.
int64_t position(const Batcher& batcher, int64_t counted) {
  const Batcher::Place at = batcher.place(counted);
  return at.shift + at.index * kContext;
}

TEST(Permutation, IsOneForEverySizeAndDiffersBySeed) {
  for (const int64_t n : {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097}) {
    std::set<int64_t> seen;
    for (int64_t i = 0; i < n; ++i) seen.insert(permuted(i, n, 3));
    EXPECT_EQ(static_cast<int64_t>(seen.size()), n);
    EXPECT_EQ(*seen.rbegin(), n - 1);
  }
  int same = 0;
  for (int64_t i = 0; i < 1000; ++i) same += permuted(i, 1000, 1) == permuted(i, 1000, 2);
  EXPECT_LT(same, 20);  // one in a thousand by chance; 20 of them is beyond ten deviations
}

TEST(Permutation, SpreadsEveryBlockOverTheRange) {
  // A quarter of the indices lands in each quarter of the range: 256 expected, deviation 12.
  int counts[4] = {};
  for (int64_t i = 0; i < 1024; ++i) ++counts[permuted(i, 4096, 11) / 1024];
  for (const int count : counts) EXPECT_NEAR(count, 256, 80);
}

TEST_F(BatcherTest, AnEpochVisitsDisjointWindowsThatCoverTheShard) {
  const TextWindows tokens = windows(1003);
  Batcher batcher(tokens, options(4));
  const int64_t count = tokens.count();
  EXPECT_EQ(count, 1003 / kContext - 1);
  for (const int64_t epoch : {0, 1, 5}) {
    std::vector<int64_t> positions;
    for (int64_t i = 0; i < count; ++i) positions.push_back(position(batcher, epoch * count + i));
    EXPECT_FALSE(std::ranges::is_sorted(positions));
    std::ranges::sort(positions);
    for (size_t i = 1; i < positions.size(); ++i)
      EXPECT_EQ(positions[i] - positions[i - 1], kContext);
    EXPECT_GE(positions.front(), 0);
    EXPECT_LE(positions.back() + kContext, 1003);
  }
}

TEST_F(BatcherTest, EpochsAndSeedsDiffer) {
  const TextWindows tokens = windows(1003);
  Batcher first(tokens, options(1));
  BatcherOptions other = options(1);
  other.seed = 8;
  Batcher second(tokens, other);
  const int64_t count = tokens.count();
  std::vector<int64_t> a, b, c;
  for (int64_t i = 0; i < count; ++i) {
    a.push_back(position(first, i));
    b.push_back(position(first, count + i));
    c.push_back(position(second, i));
  }
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
}

TEST_F(BatcherTest, RanksTogetherSeeTheSameGlobalBatch) {
  const TextWindows tokens = windows(1003);
  Batcher alone(tokens, options(8));
  for (int step = 0; step < 40; ++step) {  // beyond an epoch of 124 windows
    const std::vector<int64_t> whole = starts(alone.next());
    for (const int64_t ranks : {2, 4}) {
      std::vector<int64_t> shared;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        Batcher batcher(tokens, options(8, rank, ranks));
        batcher.seek(step * 8);
        const std::vector<int64_t> part = starts(batcher.next());
        EXPECT_EQ(static_cast<int64_t>(part.size()), 8 / ranks);
        shared.insert(shared.end(), part.begin(), part.end());
        EXPECT_EQ(batcher.cursor(), step * 8 + 8);
      }
      EXPECT_EQ(shared, whole);
    }
  }
}

TEST_F(BatcherTest, ResumesAtAnyCursor) {
  const TextWindows tokens = windows(500);
  Batcher through(tokens, options(3));
  for (int step = 0; step < 50; ++step) {
    Batcher resumed(tokens, options(3));
    resumed.seek(through.cursor());
    EXPECT_EQ(through.next().ids, resumed.next().ids);
  }
}

TEST_F(BatcherTest, ShardOfOneWindowWorksAndOneTokenLessIsRefused) {
  const TextWindows one = windows(kContext);
  Batcher batcher(one, options(2));
  EXPECT_EQ(starts(batcher.next()), (std::vector<int64_t>{0, 0}));
  try {
    windows(kContext - 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::invalid_file);
    EXPECT_THAT(error.what(), testing::HasSubstr("7 tokens are too few for one sequence of 8"));
  }
}

TEST_F(BatcherTest, UnevenSharesAreRefused) {
  const TextWindows tokens = windows(100);
  try {
    Batcher refused(tokens, options(8, 0, 3));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.what(), testing::HasSubstr("multiple of 8 x ranks = 24"));
  }
}

TEST_F(BatcherTest, ValidationComesInOrder) {
  const TextWindows valid = windows(43, WindowUse::validation);
  EXPECT_EQ(valid.count(), 5);
  EXPECT_EQ(valid.shifts(), 1);
  EXPECT_EQ(starts(read_in_order(valid, 1, 4)), (std::vector<int64_t>{8, 16, 24, 32}));
}

}  // namespace
}  // namespace terse
