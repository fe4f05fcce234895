#include "trainer/recipe/one_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "trainer/recipe/options.h"

namespace terse {
namespace {

using testing::HasSubstr;

TEST(OneTable, TakesKeysWithAndWithoutTheirTable) {
  const auto options =
      options_from_sets<CheckpointOptions>("checkpoint", {"every=7", "checkpoint.keep=3"});
  EXPECT_EQ(options.every, 7);
  EXPECT_EQ(options.keep, 3);
}

TEST(OneTable, ReportsEveryProblem) {
  try {
    options_from_sets<CheckpointOptions>("checkpoint",
                                         {"evry=7", "keep=0", "train.steps=3", "plain"});
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
