#include <gtest/gtest.h>

#include "base/error.h"
#include "trainer/bench/train/bench_train.h"
#include "trainer/bench/train/peer.h"
#include "trainer/bench/train/training_step.h"

namespace terse {
namespace {

ExitCode code_of(const std::vector<std::string>& command, double timeout_s) {
  try {
    Peer peer(command, 1, timeout_s);
    peer.run();
  } catch (const Error& e) {
    return e.code();
  }
  return ExitCode::ok;
}

TEST(Peer, AnswersEachRequest) {
  Peer peer({"/bin/sh", "-c", "echo warming; echo ready; while read x; do echo 0.25; done"}, 1, 20);
  EXPECT_EQ(peer.run(), 0.25);
  EXPECT_EQ(peer.run(), 0.25);
}

TEST(Peer, GetsTheAllocatorSettingsAndThreads) {
  Peer peer({"/bin/sh", "-c",
             "echo ready; read x; echo $((MALLOC_MMAP_MAX_ + MALLOC_TRIM_THRESHOLD_ + "
             "MALLOC_TOP_PAD_ + OMP_NUM_THREADS))"},
            3, 20);
  EXPECT_EQ(peer.run(), 2147483647.0 + 268435456.0 + 3.0);
}

TEST(Peer, EndedSilentOrMissingIsAnError) {
  EXPECT_EQ(code_of({"/bin/sh", "-c", "exit 1"}, 20), ExitCode::usage);
  EXPECT_EQ(code_of({"/bin/sh", "-c", "echo ready"}, 20), ExitCode::usage);
  EXPECT_EQ(code_of({"/bin/sh", "-c", "echo ready; exec sleep 20"}, 0.2), ExitCode::deadline);
  EXPECT_EQ(code_of({"/no/such/program"}, 20), ExitCode::usage);
}

TEST(BenchTrain, SaysHowToGetPyTorch) {
  BenchTrainOptions options;
  options.model = {.layers = 1, .width = 16, .heads = 2, .hidden = 16, .context = 4, .vocab = 8};
  options.batch = 1;
  options.threads = 1;
  options.python = "/no/such/python";
  options.quick = true;
  options.model.width = 256;  // W4A4 rotates in blocks of 128
  options.model.hidden = 256;
  try {
    bench_train(options);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    EXPECT_NE(std::string(e.what()).find("scripts/test"), std::string::npos) << e.what();
  }
}

TEST(TrainingStep, LearnsItsOnlyBatch) {
  const LlamaOptions model{
      .layers = 1, .width = 32, .heads = 2, .hidden = 48, .context = 8, .vocab = 16};
  TrainingStep step(model, QatOptions(), 2);
  step.run();
  const double first = step.loss();
  for (int i = 0; i < 60; ++i) step.run();
  EXPECT_LT(step.loss(), 0.8 * first);
}

}  // namespace
}  // namespace terse
