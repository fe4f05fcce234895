#include "comm/connect.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace terse {
namespace {

TEST(ChooseGpus, AutoTakesThemOnlyIfEveryRankHasOne) {
  EXPECT_TRUE(choose_gpus("auto", {"", ""}));
  EXPECT_FALSE(choose_gpus("auto", {"", "no GPU"}));
  EXPECT_FALSE(choose_gpus("cpu", {"", ""}));
  EXPECT_TRUE(choose_gpus("cuda", {"", ""}));
}

TEST(ChooseGpus, CudaNamesTheRankThatHasNone) {
  try {
    choose_gpus("cuda", {"", "its machine has 1 GPU"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    const std::string text = error.what();
    EXPECT_NE(text.find("rank 1"), std::string::npos) << text;
    EXPECT_NE(text.find("its machine has 1 GPU"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace terse
