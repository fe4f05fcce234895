#include "trainer/data/images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <set>

#include "base/error.h"
#include "tests/trainer/data/temporary_folder.h"
#include "trainer/data/batcher.h"

namespace terse {
namespace {

constexpr ImageShape kShape{1, 2, 3, 300, 16};

class ImagesTest : public testing::Test {
 protected:
  // Image i: pixels i, i + 1, ... modulo 17 and label 7 i + 200, beyond a byte.
  std::string written(int64_t images) {
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < images; ++i) {
      for (int64_t p = 0; p < kShape.pixels(); ++p) rows.push_back((i + p) % 17);
      rows.push_back(7 * i + 200);
    }
    write_images(FileSystem::real(), folder_.file("i.images"), kShape, rows);
    return folder_.file("i.images");
  }
  // The file with one byte changed.
  std::string damaged(size_t at, char value) {
    std::string bytes = read_text(written(4));
    bytes.at(at) = value;
    write_atomically(FileSystem::real(), folder_.file("d.images"), bytes);
    return folder_.file("d.images");
  }
  TemporaryFolder folder_;
};

std::string problem_of(const std::string& path) {
  try {
    ImageFile(path).verify();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::invalid_file);
    return error.what();
  }
  return "";
}

TEST_F(ImagesTest, ReadsBackWhatWasWritten) {
  const ImageFile file(written(5));
  file.verify();
  EXPECT_EQ(file.shape(), kShape);
  EXPECT_EQ(file.count(), 5);
  EXPECT_EQ(file.columns(), 7);
  std::vector<int64_t> row(7);
  file.read(3, 0, row);
  EXPECT_EQ(row, (std::vector<int64_t>{3, 4, 5, 6, 7, 8, 221}));
}

TEST_F(ImagesTest, AnEpochVisitsEachImageOnce) {
  const ImageFile file(written(14));
  Batcher batcher(file, {.rows = 7, .seed = 3, .rank = 0, .ranks = 1});
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::multiset<int64_t> labels;
    for (int half = 0; half < 2; ++half) {
      const Batch batch = batcher.next();
      for (int64_t r = 0; r < batch.rows; ++r)
        labels.insert(batch.ids[static_cast<size_t>((r + 1) * batch.columns - 1)]);
    }
    std::set<int64_t> distinct(labels.begin(), labels.end());
    EXPECT_EQ(labels.size(), 14u);
    EXPECT_EQ(distinct.size(), 14u);
  }
}

TEST_F(ImagesTest, DamageIsNamed) {
  using testing::HasSubstr;
  EXPECT_THAT(problem_of(damaged(0, 'x')), HasSubstr("TERSEIMG"));
  EXPECT_THAT(problem_of(damaged(8, 2)), HasSubstr("version 2"));
  EXPECT_THAT(problem_of(damaged(12, 5)), HasSubstr("promises 5 images"));
  EXPECT_THAT(problem_of(damaged(12, 0)), HasSubstr("promises 0 images"));
  EXPECT_THAT(problem_of(damaged(16, 0)), HasSubstr("not possible"));
  EXPECT_THAT(problem_of(damaged(20, 4)), HasSubstr("promises 4 images of 10 bytes"));
  EXPECT_THAT(problem_of(damaged(64, 17)), HasSubstr("image 0 has a pixel of 17"));
  EXPECT_THAT(problem_of(damaged(64 + 8 + 7, 9)), HasSubstr("image 1 has label"));
  EXPECT_THAT(problem_of(damaged(64, 3)), HasSubstr("checksum"));
  write_atomically(FileSystem::real(), folder_.file("short"), "TERSEIMG");
  EXPECT_THAT(problem_of(folder_.file("short")), HasSubstr("8 bytes are too few"));
}

}  // namespace
}  // namespace terse
