// Exchanges between real processes, under every launcher and backend, and against DeepSpeed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gpu.h"
#include "tests/support/processes.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;
using testing::Started;
using namespace std::chrono_literals;

Outcome run(Started launcher, int ranks, const std::vector<std::string>& arguments,
            std::chrono::seconds limit = 60s) {
  std::vector<std::string> command{TERSE_RANKS_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return testing::run_ranks({.launcher = launcher,
                             .ranks = ranks,
                             .command = command,
                             .environment = {},
                             .limit = limit});
}

TEST(Exchange, EveryCheckOnOneToFourRanks) {
  for (const int ranks : {1, 2, 3, 4}) {
    const Outcome outcome = run(Started::environment, ranks, {"all", "gloo"});
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

TEST(ExchangeSlow, EveryCodecAndPolicyKeepsItsPromises) {
  for (const int ranks : {1, 2, 3, 4}) {
    const Outcome outcome = run(Started::environment, ranks, {"compressed", "gloo"});
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

// Two nodes of two ranks: {0, 1} and {2, 3} inside, {0, 2} and {1, 3} between them.
TEST(ExchangeSlow, EveryCodecAndPolicyKeepsItsPromisesOverMpi) {
  if (!testing::available(Started::mpirun)) GTEST_SKIP() << "mpirun is not installed";
  const Outcome outcome = run(Started::mpirun, 4, {"compressed", "mpi"});
  EXPECT_TRUE(outcome.ok()) << outcome.text();
}

TEST(ExchangeSlow, LgrecoDecidesAlikeAndLosesNothing) {
  for (const int ranks : {1, 2, 3, 4}) {
    const Outcome outcome = run(Started::environment, ranks, {"lgreco", "gloo"});
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

TEST(ExchangeSlow, NothingIsLostOnOtherRanksAndNodes) {
  const Outcome outcome = run(Started::environment, 4, {"resharding", "gloo"}, 120s);
  EXPECT_TRUE(outcome.ok()) << outcome.text();
}

// Over both backends, whose collectives must come in one order under every mixture.
TEST(ExchangeSlow, NothingIsLostWhenBucketsChangeTheirExchange) {
  for (const int ranks : {1, 2, 3}) {
    const Outcome gloo = run(Started::environment, ranks, {"switching", "gloo"});
    EXPECT_TRUE(gloo.ok()) << gloo.text();
    if (!testing::available(Started::mpirun)) continue;
    const Outcome mpi = run(Started::mpirun, ranks, {"switching", "mpi"});
    EXPECT_TRUE(mpi.ok()) << mpi.text();
  }
}

TEST(Exchange, AgreesWithDeepSpeed) {
  const std::string golden = TERSE_SOURCE_DIR "/tests/comm/exchange/golden/deepspeed.safetensors";
  for (const int ranks : {2, 3, 4}) {
    const Outcome outcome = run(Started::environment, ranks, {"deepspeed", "gloo", golden});
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

TEST(Exchange, AgreesWithTorchsPowerSgd) {
  const std::string golden = TERSE_SOURCE_DIR "/tests/comm/exchange/golden/powersgd.safetensors";
  const Outcome outcome = run(Started::environment, 2, {"powersgd", "gloo", golden});
  EXPECT_TRUE(outcome.ok()) << outcome.text();
}

TEST(Exchange, LowRankOfChangingRanksAndOddShapesIsThePapers) {
  for (const int ranks : {1, 2, 3}) {
    const Outcome outcome = run(Started::environment, ranks, {"lowrank", "gloo"});
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

// What was printed after `name`, by whoever printed it first.
std::string hash_of(const Outcome& outcome, const std::string& name = "hash ") {
  const std::string& text = outcome.exits[0].output;
  const size_t at = text.find(name);
  return at == std::string::npos ? "" : text.substr(at + name.size(), 16);
}

TEST(Exchange, SameBytesOnEveryTransport) {
  const Outcome gloo = run(Started::environment, 3, {"hash", "gloo"});
  ASSERT_TRUE(gloo.ok()) << gloo.text();
  ASSERT_EQ(hash_of(gloo).size(), 16u) << gloo.text();
  if (!testing::available(Started::mpirun)) GTEST_SKIP() << "mpirun is not installed";
  const Outcome mpi = run(Started::mpirun, 3, {"hash", "mpi"});
  EXPECT_TRUE(mpi.ok()) << mpi.text();
  EXPECT_EQ(hash_of(gloo), hash_of(mpi));
}

TEST(CudaExchange, EveryCheckOnOneGpu) {
  TERSE_NEEDS_GPUS(1);
  const Outcome outcome = run(Started::environment, 1, {"all", "nccl"});
  EXPECT_TRUE(outcome.ok()) << outcome.text();
}

TEST(CudaExchange, EveryCheckOnTwoGpus) {
  TERSE_NEEDS_GPUS(2);
  const Outcome outcome = run(Started::environment, 2, {"all", "nccl"});
  EXPECT_TRUE(outcome.ok()) << outcome.text();
}

TEST(CudaExchange, SameBytesAsOnTheCpu) {
  TERSE_NEEDS_GPUS(1);
  const int most = testing::missing_gpus(2).empty() ? 2 : 1;
  for (int ranks = 1; ranks <= most; ++ranks) {
    const Outcome cpu = run(Started::environment, ranks, {"hash", "gloo"});
    const Outcome gpu = run(Started::environment, ranks, {"hash", "nccl"});
    ASSERT_TRUE(cpu.ok()) << cpu.text();
    ASSERT_TRUE(gpu.ok()) << gpu.text();
    ASSERT_EQ(hash_of(gpu, "portable ").size(), 16u) << gpu.text();
    EXPECT_EQ(hash_of(cpu, "portable "), hash_of(gpu, "portable ")) << ranks;
  }
}

}  // namespace
}  // namespace terse
