#include "trainer/recipe/one_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "trainer/recipe/options.h"

namespace terse {
namespace {

using testing::HasSubstr;

TEST(OneTable, TakesKeysWithAndWithoutTheirTable) {
  CheckpointOptions checkpoint;
  ExportOptions file;
  read_sets({"every=7", "checkpoint.keep=3", "export.path=x"}, std::pair("checkpoint", &checkpoint),
            std::pair("export", &file));
  EXPECT_EQ(checkpoint.every, 7);
  EXPECT_EQ(checkpoint.keep, 3);
  EXPECT_EQ(file.path, "x");
}

TEST(OneTable, ReportsEveryProblem) {
  CheckpointOptions checkpoint;
  try {
    read_sets({"evry=7", "keep=0", "train.steps=3", "plain"}, std::pair("checkpoint", &checkpoint));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.what(), HasSubstr("4 problems"));
    EXPECT_THAT(error.what(),
                HasSubstr("unknown key 'evry' in [checkpoint]; did you mean 'every'?"));
    EXPECT_THAT(error.what(), HasSubstr("[checkpoint] keep: 0 is out of bounds"));
    EXPECT_THAT(error.what(), HasSubstr("only keys of [checkpoint]"));
    EXPECT_THAT(error.what(), HasSubstr("expected table.key=value"));
  }
}

}  // namespace
}  // namespace terse
