#include "trainer/faults.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace terse {
namespace {

TEST(Faults, Parses) {
  const auto faults = parse_faults("kill:1:120,nan:0:7");
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_EQ(faults[0].kind, FaultKind::kill);
  EXPECT_EQ(faults[0].rank, 1);
  EXPECT_EQ(faults[1].step, 7);
  for (const char* wrong : {"kill", "kill:1", "boom:1:2", "nan:x:2", "nan:1:-2"})
    EXPECT_THROW(parse_faults(wrong), Error) << wrong;
}

TEST(Faults, DiskIsFullAtThatStepOnly) {
  ::setenv("TERSE_FAULT", "full:2:7", 1);
  const Faults faults(2, 0), other(0, 0);
  ::unsetenv("TERSE_FAULT");
  const std::string path = ::testing::TempDir() + "/faults_test.txt";
  EXPECT_THROW(write_atomically(faults.disk(7), path, "text"), Error);
  EXPECT_FALSE(FileSystem::real().exists(path));
  EXPECT_EQ(&faults.disk(8), &FileSystem::real());
  EXPECT_EQ(&other.disk(7), &FileSystem::real());
}

TEST(Faults, NanStrikesOnce) {
  ::setenv("TERSE_FAULT", "nan:0:7,nan:1:8", 1);
  const Faults faults(0, 0);
  ::unsetenv("TERSE_FAULT");
  EXPECT_TRUE(faults.strike(7));
  EXPECT_FALSE(faults.strike(8));
  EXPECT_FALSE(Faults(0, 0).strike(7));
}

}  // namespace
}  // namespace terse
