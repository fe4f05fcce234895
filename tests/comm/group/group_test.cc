#include "comm/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/error.h"
#include "comm/nccl_group.h"
#include "tests/support/gpu.h"
#include "tests/support/processes.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using testing::Launch;
using testing::Outcome;
using testing::Started;
using namespace std::chrono_literals;

Outcome run(Started launcher, int ranks, std::vector<std::string> arguments,
            std::chrono::milliseconds limit = 60s) {
  arguments.insert(arguments.begin(), TERSE_RANKS_PROGRAM);
  return testing::run_ranks({.launcher = launcher,
                             .ranks = ranks,
                             .command = arguments,
                             .environment = {},
                             .limit = limit});
}

struct Case {
  Started launcher;
  int ranks;
  const char* backend;
};

std::string case_name(const ::testing::TestParamInfo<Case>& test) {
  const Case& c = test.param;
  return fmt::format("{}_{}_{}", testing::name_of(c.launcher), c.ranks, c.backend);
}

class Conformance : public ::testing::TestWithParam<Case> {};

TEST_P(Conformance, EveryCollectiveIsExact) {
  const Case c = GetParam();
  TERSE_NEEDS_GPUS(std::string_view(c.backend) == "nccl" ? c.ranks : 0);
  if (!testing::available(c.launcher)) GTEST_SKIP() << "launcher is not installed";
  const Outcome outcome = run(c.launcher, c.ranks, {"conformance", c.backend});
  EXPECT_TRUE(outcome.ok()) << outcome.text();
  for (const auto& e : outcome.exits) EXPECT_THAT(e.output, HasSubstr("fine"));
}

INSTANTIATE_TEST_SUITE_P(
    Gloo, Conformance,
    ::testing::Values(Case{Started::environment, 1, "gloo"}, Case{Started::environment, 2, "gloo"},
                      Case{Started::environment, 3, "gloo"}, Case{Started::environment, 4, "gloo"},
                      Case{Started::mpirun, 2, "gloo"}, Case{Started::torchrun, 2, "auto"}),
    case_name);
INSTANTIATE_TEST_SUITE_P(Mpi, Conformance,
                         ::testing::Values(Case{Started::mpirun, 1, "mpi"},
                                           Case{Started::mpirun, 2, "auto"},
                                           Case{Started::mpirun, 3, "mpi"},
                                           Case{Started::mpirun, 4, "mpi"}),
                         case_name);

INSTANTIATE_TEST_SUITE_P(CudaNccl, Conformance,
                         ::testing::Values(Case{Started::environment, 1, "nccl"},
                                           Case{Started::environment, 2, "nccl"},
                                           Case{Started::mpirun, 2, "nccl"},
                                           Case{Started::environment, 4, "nccl"}),
                         case_name);

// Ranks 0 and 2 must end with `code` long before the deadline and name rank 1.
void expect_named(const Outcome& outcome, ExitCode code) {
  for (const size_t r : {size_t{0}, size_t{2}}) {
    EXPECT_EQ(outcome.exits[r].code, static_cast<int>(code)) << outcome.text();
    EXPECT_THAT(outcome.exits[r].output, HasSubstr("rank 1")) << outcome.text();
    EXPECT_THAT(outcome.exits[r].output, HasSubstr("bucket 7")) << outcome.text();
    EXPECT_THAT(outcome.exits[r].output,
                HasSubstr("again " + std::to_string(static_cast<int>(code))));
  }
}

TEST(GroupFailure, AKilledRankIsNamedByAllOthers) {
  const Outcome outcome = run(Started::environment, 3, {"die", "gloo"});
  expect_named(outcome, ExitCode::peer_lost);
  EXPECT_EQ(outcome.exits[1].signal, SIGKILL);
  for (const size_t r : {size_t{0}, size_t{2}}) {
    EXPECT_THAT(outcome.exits[r].output, HasSubstr("dead 1\n"));
  }
  EXPECT_LT(outcome.seconds, 15) << "the deadline is 20 s";
}

TEST(GroupFailure, AStoppedRankIsNamedByAllOthers) {
  Launch launch;
  launch.ranks = 3;
  launch.command = {TERSE_RANKS_PROGRAM, "stop", "gloo"};
  testing::Job job(launch);
  EXPECT_TRUE(job.wait_for(0, "Error"));
  EXPECT_TRUE(job.wait_for(2, "Error"));
  job.signal(1, SIGKILL);
  expect_named(job.wait(), ExitCode::peer_lost);
}

TEST(GroupFailure, ASleepingRankPassesTheDeadline) {
  const Outcome outcome = run(Started::environment, 3, {"sleep", "gloo"});
  expect_named(outcome, ExitCode::deadline);
  EXPECT_EQ(outcome.exits[1].code, static_cast<int>(ExitCode::deadline)) << outcome.text();
}

TEST(GroupFailure, ARankThatLeavesEarlyIsNamed) {
  const Outcome outcome = run(Started::environment, 3, {"leave", "gloo"});
  expect_named(outcome, ExitCode::peer_lost);
  EXPECT_EQ(outcome.exits[1].code, 0) << outcome.text();
}

TEST(GroupFailure, ARankThatThrowsIsNamed) {
  const Outcome outcome = run(Started::environment, 3, {"throw", "gloo"});
  expect_named(outcome, ExitCode::peer_lost);
  EXPECT_EQ(outcome.exits[1].code, static_cast<int>(ExitCode::non_finite)) << outcome.text();
}

TEST(GroupFailure, ARankThatDiesInSilenceIsFoundByListening) {
  const Outcome outcome = run(Started::environment, 3, {"silent"});
  EXPECT_EQ(outcome.exits[1].signal, SIGKILL) << outcome.text();
  for (const size_t r : {size_t{0}, size_t{2}}) {
    EXPECT_EQ(outcome.exits[r].code, 0) << outcome.text();
    EXPECT_THAT(outcome.exits[r].output, HasSubstr("dead 1\n")) << outcome.text();
  }
}

// Under mpirun the first rank that fails ends the job, so one rank's words are all there is.
void expect_named_under_mpirun(const Outcome& outcome, ExitCode code) {
  const testing::Exit& exit = outcome.exits[0];
  ASSERT_FALSE(exit.timed_out) << outcome.text();
  EXPECT_EQ(exit.code, static_cast<int>(code)) << outcome.text();
  EXPECT_THAT(exit.output, HasSubstr(fmt::format("Error {}: ", static_cast<int>(code))));
  EXPECT_THAT(exit.output, HasSubstr("rank 1"));
  EXPECT_THAT(exit.output, HasSubstr("bucket 7"));
}

TEST(GroupFailureMpi, ASleepingRankPassesTheDeadline) {
  if (!testing::available(Started::mpirun)) GTEST_SKIP() << "no mpirun";
  expect_named_under_mpirun(run(Started::mpirun, 3, {"sleep", "mpi"}), ExitCode::deadline);
}

TEST(GroupFailureMpi, AStoppedRankIsNamed) {
  if (!testing::available(Started::mpirun)) GTEST_SKIP() << "no mpirun";
  expect_named_under_mpirun(run(Started::mpirun, 3, {"stop", "mpi"}), ExitCode::peer_lost);
}

// mpirun sees a killed rank first and ends the others.
TEST(GroupFailureMpi, AKilledRankEndsTheJob) {
  if (!testing::available(Started::mpirun)) GTEST_SKIP() << "no mpirun";
  const Outcome outcome = run(Started::mpirun, 3, {"die", "mpi"});
  ASSERT_FALSE(outcome.exits[0].timed_out) << outcome.text();
  EXPECT_EQ(outcome.exits[0].code, 128 + SIGKILL) << outcome.text();
  EXPECT_THAT(outcome.exits[0].output, HasSubstr("process rank 1"));
}

TEST(GroupMpi, WaitingLeavesTheProcessorToOthers) {
  if (!testing::available(Started::mpirun)) GTEST_SKIP() << "no mpirun";
  const Outcome outcome = run(Started::mpirun, 2, {"wait", "mpi"});
  EXPECT_TRUE(outcome.ok()) << outcome.text();
}

TEST(Group, SingleSendsNothing) {
  Group group;
  at::Tensor in = at::arange(5, at::kFloat);
  at::Tensor out = at::zeros({5});
  group.all_to_all(out, in).wait();
  EXPECT_TRUE(at::equal(out, in));
  group.all_reduce(out).wait();
  EXPECT_TRUE(at::equal(out, in));
  EXPECT_EQ(group.wire_bytes().total(), 0);
  EXPECT_EQ(group.backend(), "single");
  EXPECT_TRUE(group.dead_peers(10ms).empty());
}

TEST(Group, BackendNames) {
  EXPECT_EQ(parse_backend("mpi"), BackendKind::mpi);
  try {
    parse_backend("tcp");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    EXPECT_THAT(e.what(), HasSubstr("gloo"));
  }
}

std::string refusal(const World& world, const GroupOptions& options) {
  try {
    make_group(world, {}, options);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    return e.what();
  }
  return "nothing refused";
}

TEST(Group, NcclSaysWhatToBuild) {
  if (nccl_available()) GTEST_SKIP() << "built with NCCL";
  EXPECT_THAT(refusal({}, {.backend = BackendKind::nccl}), HasSubstr("TERSE_CUDA"));
  EXPECT_THAT(refusal({}, {.cuda = true}), HasSubstr("TERSE_CUDA"));
}

TEST(CudaGroup, SaysWhyAGpuCannotBeUsed) {
  if (!nccl_available()) GTEST_SKIP() << "built without CUDA (preset cuda)";
  World world;
  EXPECT_THAT(refusal(world, {.backend = BackendKind::gloo, .cuda = true}), HasSubstr("gloo"));
  EXPECT_THAT(refusal(world, {.backend = BackendKind::mpi, .cuda = true}), HasSubstr("mpi"));
  world.local_rank = 100;
  world.local_size = 101;
  EXPECT_THAT(refusal(world, {.cuda = true}), HasSubstr("GPU"));
  if (!testing::missing_gpus(1).empty()) return;
  EXPECT_THAT(refusal(world, {.cuda = true}), HasSubstr("number 101 of the 101 ranks"));
  EXPECT_THAT(refusal({}, {.backend = BackendKind::nccl}), HasSubstr("GPU tensors only"));
}

}  // namespace
}  // namespace terse
