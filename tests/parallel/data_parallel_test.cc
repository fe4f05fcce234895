// Starts parallel_ranks.cc on 1, 2 and 4 ranks, and looks at what is refused.
#include "parallel/data_parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn.h>

#include "base/error.h"
#include "tests/support/processes.h"
#include "tests/support/temporary_directory.h"

namespace terse {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

testing::Outcome ranks(int count, std::vector<std::string> arguments,
                       testing::Started launcher = testing::Started::environment) {
  testing::Launch launch;
  launch.launcher = launcher;
  launch.ranks = count;
  launch.command = std::move(arguments);
  launch.command.insert(launch.command.begin(), TERSE_RANKS_PROGRAM);
  launch.limit = std::chrono::seconds(120);
  return testing::run_ranks(launch);
}

std::string refusal(torch::nn::Module& model, const DataParallelOptions& options) {
  try {
    DataParallel parallel(model, Group::single(), options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
  return "";
}

// Dense steps with and without micro-batches equal LibTorch's AdamW on the whole batch, from rank
// 0's weights; saving and loading in the middle changes no bit, error feedback and running
// statistics included.
TEST(DataParallel, OnOneTwoAndFourRanks) {
  for (const int count : {1, 2, 4}) {
    const TemporaryDirectory folder;
    const testing::Outcome o = ranks(count, {"train", folder.path()});
    EXPECT_TRUE(o.ok()) << count << " ranks\n" << o.text();
  }
}

TEST(DataParallel, UnderMpirun) {
  if (!testing::available(testing::Started::mpirun)) GTEST_SKIP() << "no mpirun";
  const TemporaryDirectory folder;
  const testing::Outcome o = ranks(2, {"train", folder.path()}, testing::Started::mpirun);
  EXPECT_TRUE(o.ok()) << o.text();
}

TEST(DataParallel, RanksWithOtherOptionsAreNamed) {
  const testing::Outcome o = ranks(2, {"options"});
  EXPECT_TRUE(o.ok()) << o.text();
  EXPECT_THAT(o.text(), HasSubstr("options (DataParallel) of rank 1 differs from rank 0's"));
}

TEST(DataParallel, AllWrongOptionsAtOnce) {
  torch::nn::LinearImpl model(3, 4);
  DataParallelOptions options;
  options.optim = {.name = "adam", .lr = -1, .betas = {0.9}};
  options.exchange.codec = "onebits";
  EXPECT_THAT(refusal(model, options),
              AllOf(HasSubstr("[optim] name: 'adam' is none of"), HasSubstr("mean 'adamw'?"),
                    HasSubstr("[optim] lr: -1 is out of bounds"),
                    HasSubstr("[optim] betas: needs two numbers"),
                    HasSubstr("[exchange] codec: 'onebits'"), HasSubstr("steps: 0 of")));
}

TEST(DataParallel, ModelsThatCannotBeTrainedAreRefusedByName) {
  const DataParallelOptions options{.steps = 10};
  torch::nn::SequentialImpl model(torch::nn::Linear(3, 4), torch::nn::Linear(4, 2));
  model[0]->to(at::kDouble);
  EXPECT_THAT(refusal(model, options),
              AllOf(HasSubstr("0.weight: is Double"), HasSubstr("0.bias: is Double"),
                    ::testing::Not(HasSubstr("1.weight"))));
  torch::nn::ReLUImpl empty;
  EXPECT_THAT(refusal(empty, options), HasSubstr("no parameter that requires a gradient"));
}

TEST(DataParallel, LossesThatCannotBeUsedAreRefusedBeforeAnythingStarts) {
  torch::nn::LinearImpl model(3, 4);
  DataParallel parallel(model, Group::single(), {.steps = 10});
  const at::Tensor x = at::ones({2, 3});
  EXPECT_THROW(parallel.step(model.forward(x)), Error);  // not one element
  EXPECT_THROW(parallel.step(model.forward(x).sum().detach()), Error);
  EXPECT_TRUE(parallel.step(model.forward(x).sum()).committed);  // still usable
  EXPECT_EQ(parallel.steps_taken(), 1);
}

}  // namespace
}  // namespace terse
