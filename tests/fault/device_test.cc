// The program on a GPU, where there is one, against itself on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tests/fault/small_run.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;

const std::vector<std::string> kDense = {
    "train.steps=20",       "train.compute=\"fp32\"", "exchange.codec=\"fp32\"",
    "optim.name=\"adamw\"", "optim.freeze=0",         "qat.target=\"\"",
    "qat.ignore=[]"};

std::vector<std::string> on(const std::string& device, std::vector<std::string> sets) {
  sets.push_back("train.device=\"" + device + "\"");
  return sets;
}

// No silent fall-back: without a GPU the program says so and why.
bool refused(const Outcome& outcome) {
  if (outcome.exits[0].code != static_cast<int>(ExitCode::usage)) return false;
  EXPECT_THAT(outcome.exits[0].output, HasSubstr("cannot use a GPU"));
  EXPECT_THAT(outcome.exits[0].output, HasSubstr("set device = \"cpu\""));
  return true;
}

#define TERSE_SKIP_IF_REFUSED(outcome) \
  if (refused(outcome)) GTEST_SKIP() << "no GPU, or built without CUDA (preset cuda)"

// fp32 sums in another order, twenty steps of it: DataParallelSlow sees 1e-5 after fifty.
TEST(CudaProgramSlow, DenseTrainingHasTheLossesOfTheCpu) {
  SmallRun small;
  const Outcome gpu = small.train("gpu", 1, on("cuda", kDense));
  TERSE_SKIP_IF_REFUSED(gpu);
  ASSERT_TRUE(gpu.ok()) << gpu.text();
  const Outcome cpu = small.train("cpu", 1, on("cpu", kDense));
  ASSERT_TRUE(cpu.ok()) << cpu.text();
  const auto ours = small.losses("gpu"), theirs = small.losses("cpu");
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i)
    ASSERT_LT(std::fabs(ours[i] - theirs[i]) / theirs[i], 1e-4) << "step " << i + 1;
}

// 4-bit weights and 1-bit messages round differences of 1e-6 to whole steps here and there, so that
// single losses differ; where training ends up does not.
TEST(CudaProgramSlow, CompressedTrainingLearnsAsOnTheCpu) {
  SmallRun small;
  const Outcome gpu = small.train("gpu", 1, on("cuda", {}));
  TERSE_SKIP_IF_REFUSED(gpu);
  ASSERT_TRUE(gpu.ok()) << gpu.text();
  const Outcome cpu = small.train("cpu", 1, on("cpu", {}));
  ASSERT_TRUE(cpu.ok()) << cpu.text();
  const double ours = small.losses("gpu").back(), theirs = small.losses("cpu").back();
  EXPECT_NEAR(ours, theirs, 0.05 * small.losses("cpu").front());
  const Outcome again = small.resume("gpu", 1, {"train.steps=70"});
  EXPECT_TRUE(again.ok()) << again.text();
}

TEST(CudaProgramSlow, TwoRanksOnTwoGpus) {
  SmallRun small;
  const Outcome gpu = small.train("gpu", 2, on("cuda", {}));
  TERSE_SKIP_IF_REFUSED(gpu);
  EXPECT_TRUE(gpu.ok()) << gpu.text();  // replicas are compared before every checkpoint
}

}  // namespace
}  // namespace terse
