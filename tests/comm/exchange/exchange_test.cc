// Exchanges between real processes, under every launcher and backend, and against DeepSpeed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/processes.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;
using testing::Started;
using namespace std::chrono_literals;

Outcome run(Started launcher, int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> command{TERSE_RANKS_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return testing::run_ranks(
      {.launcher = launcher, .ranks = ranks, .command = command, .environment = {}, .limit = 60s});
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

TEST(Exchange, AgreesWithDeepSpeed) {
  const std::string golden = TERSE_SOURCE_DIR "/tests/comm/exchange/golden/deepspeed.safetensors";
  for (const int ranks : {2, 3, 4}) {
    const Outcome outcome = run(Started::environment, ranks, {"deepspeed", "gloo", golden});
    EXPECT_TRUE(outcome.ok()) << outcome.text();
  }
}

// Everything that was printed after "hash ", by whoever printed it first.
std::string hash_of(const Outcome& outcome) {
  const std::string& text = outcome.exits[0].output;
  const size_t at = text.find("hash ");
  return at == std::string::npos ? "" : text.substr(at + 5, 16);
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

}  // namespace
}  // namespace terse
