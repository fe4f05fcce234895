// Ranks that die, hang or go wrong, and runs that go on afterwards.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <thread>

#include "tests/fault/small_run.h"

namespace terse {
namespace {

using testing::Outcome;
using testing::Started;

bool says(const Outcome& outcome, const std::string& text) {
  return outcome.text().find(text) != std::string::npos;
}

// kill -9 of a rank in the middle of a random step; resumed, the end is the same bytes.
TEST(FaultSlow, KilledRankAndResumeIsBitwise) {
  SmallRun small;
  ASSERT_TRUE(small.train("whole", 2).ok());
  std::mt19937 random(std::random_device{}());
  const auto step = static_cast<int>(11 + random() % 48);  // after the first checkpoint
  const auto rank = static_cast<int>(random() % 2);
  const std::string fault = "kill:" + std::to_string(rank) + ":" + std::to_string(step);
  SCOPED_TRACE(fault);
  const Outcome killed =
      small.train("killed", 2, {}, Started::environment, {{"TERSE_FAULT", fault}});
  EXPECT_EQ(killed.exits[static_cast<size_t>(rank)].signal, SIGKILL) << killed.text();
  const auto& survivor = killed.exits[static_cast<size_t>(1 - rank)];
  EXPECT_EQ(survivor.code, 3) << killed.text();
  EXPECT_NE(survivor.output.find("rank " + std::to_string(rank)), std::string::npos)
      << killed.text();
  EXPECT_LT(killed.seconds, 60) << "the survivor must end well within its deadlines";

  const Outcome resumed = small.resume("killed", 2);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  EXPECT_EQ(small.losses("killed"), small.losses("whole"));
  EXPECT_TRUE(small.final_state("killed") == small.final_state("whole"));
}

// 0/1 Adam: from step 33 on ranks meet at multiples of 4 and have weights of their own between. The
// checkpoint of step 50 waits for 52, and that is where a rank killed in 55 goes on, as does a run
// on another number of ranks.
TEST(FaultSlow, KilledBetweenMeetingsAndResumeIsBitwise) {
  SmallRun small;
  const std::vector<std::string> sets = {"optim.name='zero_one_adam'", "optim.local_doubling=6",
                                         "optim.local_steps=4"};
  ASSERT_TRUE(small.train("whole", 2, sets).ok());
  for (const int ranks : {2, 1}) {
    const std::string run = "killed" + std::to_string(ranks);
    const Outcome killed =
        small.train(run, 2, sets, Started::environment, {{"TERSE_FAULT", "kill:1:55"}});
    EXPECT_EQ(killed.exits[0].code, 3) << killed.text();
    EXPECT_FALSE(small.weights(run, 52).empty());
    const Outcome resumed = small.resume(run, ranks);
    ASSERT_TRUE(resumed.ok()) << resumed.text();
    EXPECT_TRUE(says(resumed, "step-00000052")) << resumed.text();
    const auto losses = small.losses(run), whole = small.losses("whole");
    ASSERT_EQ(losses.size(), 60u);
    if (ranks == 2) {
      EXPECT_EQ(losses, whole);
      EXPECT_TRUE(small.final_state(run) == small.final_state("whole"));
    } else {
      EXPECT_NEAR(losses.back(), whole.back(), 0.2 * whole.front());  // it trains on
    }
  }
}

// kill -9 from outside, wherever the rank is: forward, exchange, vote, commit, saving, closing.
// Each resumed run is killed again; the last one ends as if nothing had happened.
TEST(FaultSlow, KilledAtRandomMomentsAndResumedIsBitwise) {
  SmallRun small;
  const std::vector<std::string> sets = {"train.steps=120", "train.log_every=1"};
  ASSERT_TRUE(small.train("whole", 2, sets).ok());
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  testing::Launch launch = small.train_launch("killed", 2, sets);
  for (int kill = 0; kill < 4; ++kill) {
    const int rank = static_cast<int>(random() % 2);
    const auto delay = std::chrono::milliseconds(random() % 300);
    testing::Job job(launch);
    // After the first checkpoint; of a resumed run, after its first step.
    job.wait_for(0, kill == 0 ? "step 11/" : "step ");
    std::this_thread::sleep_for(delay);
    if (job.running(rank)) job.signal(rank, SIGKILL);
    const Outcome killed = job.wait();
    const testing::Exit& survivor = killed.exits[static_cast<size_t>(1 - rank)];
    // A run that was through already, or whose last collective was, ends well.
    EXPECT_TRUE(survivor.code == 3 || survivor.code == 0)
        << delay.count() << " ms, rank " << rank << killed.text();
    launch = small.resume_launch("killed", 2);
  }
  const Outcome resumed = small.resume("killed", 2);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  EXPECT_EQ(small.losses("killed"), small.losses("whole"));
  EXPECT_TRUE(small.final_state("killed") == small.final_state("whole"));
}

// Killed while it writes its part of a checkpoint, either rank: that checkpoint does not count.
TEST(FaultSlow, KilledWhileSavingAndResumedIsBitwise) {
  SmallRun small;
  ASSERT_TRUE(small.train("whole", 2).ok());
  for (const size_t rank : {size_t{0}, size_t{1}}) {
    const std::string run = "torn" + std::to_string(rank);
    const Outcome killed = small.train(run, 2, {}, Started::environment,
                                       {{"TERSE_FAULT", fmt::format("torn:{}:30", rank)}});
    EXPECT_EQ(killed.exits[rank].signal, SIGKILL) << killed.text();
    EXPECT_EQ(killed.exits[1 - rank].code, 3) << killed.text();
    const Outcome resumed = small.resume(run, 2);
    ASSERT_TRUE(resumed.ok()) << resumed.text();
    EXPECT_TRUE(says(resumed, "step-00000020")) << resumed.text();
    EXPECT_EQ(small.losses(run), small.losses("whole"));
    EXPECT_TRUE(small.final_state(run) == small.final_state("whole"));
  }
}

class LauncherSlow : public ::testing::TestWithParam<Started> {};

// mpirun returns 128 + the signal, torchrun 1 whatever its worker did.
TEST_P(LauncherSlow, ReturnsItsOwnCodeAndLeavesNobody) {
  const Started launcher = GetParam();
  if (!testing::available(launcher)) GTEST_SKIP() << "launcher is not installed";
  SmallRun small;
  const Outcome outcome = small.train("run", 2, {}, launcher, {{"TERSE_FAULT", "kill:1:15"}});
  ASSERT_FALSE(outcome.exits[0].timed_out) << outcome.text();
  EXPECT_EQ(outcome.exits[0].code, launcher == Started::mpirun ? 128 + SIGKILL : 1)
      << outcome.text();
  // Orphans would keep the run's path in their command line.
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    std::string line((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(line.find(small.path("run")), std::string::npos) << entry.path();
  }
}

INSTANTIATE_TEST_SUITE_P(All, LauncherSlow, ::testing::Values(Started::mpirun, Started::torchrun),
                         [](const auto& one) { return testing::name_of(one.param); });

// A NaN in one rank's gradient: all ranks skip the same step, and nothing else changes.
TEST(FaultSlow, NanOnOneRankIsSkippedByAll) {
  SmallRun small;
  for (const std::string step : {"7", "33"}) {  // a dense and a compressed step
    const std::string run = "run" + step;
    const Outcome outcome =
        small.train(run, 2, {}, Started::environment, {{"TERSE_FAULT", "nan:1:" + step}});
    ASSERT_TRUE(outcome.ok()) << outcome.text();
    EXPECT_TRUE(says(outcome, "rank 1")) << outcome.text();
    const auto losses = small.losses(run);
    for (size_t i = 0; i < losses.size(); ++i)
      EXPECT_EQ(std::isnan(losses[i]), i + 1 == std::stoul(step)) << "step " << i + 1;
  }
}

TEST(FaultSlow, EndlessNanEndsWithCode6) {
  SmallRun small;
  std::string faults;
  for (int step = 3; step < 12; ++step)
    faults += (step > 3 ? "," : "") + ("nan:0:" + std::to_string(step));
  const Outcome outcome = small.train("run", 2, {"train.max_skipped=5"}, Started::environment,
                                      {{"TERSE_FAULT", faults}});
  for (const auto& exit : outcome.exits) EXPECT_EQ(exit.code, 6) << outcome.text();
}

// The recipe is in order: the warm-up of 11 steps leaves one of 12. A skipped step delays the
// freeze by one, and then nothing is left to compress.
TEST(FaultSlow, ACompressionThatNeverBeganIsAnError) {
  SmallRun small;
  const std::vector<std::string> sets = {"train.steps=12", "optim.freeze=11"};
  const Outcome dense =
      small.train("dense", 1, sets, Started::environment, {{"TERSE_FAULT", "nan:0:3"}});
  EXPECT_EQ(dense.exits[0].code, 2) << dense.text();
  EXPECT_TRUE(says(dense, "none of the steps 1 to 12 was compressed")) << dense.text();
  EXPECT_FALSE(std::filesystem::exists(small.path("dense/results.json")));
  const Outcome compressed = small.train("compressed", 1, sets);
  EXPECT_TRUE(compressed.ok()) << compressed.text();
}

TEST(FaultSlow, HungRankIsNamedWithinTheDeadline) {
  SmallRun small;
  const Outcome outcome = small.train("run", 2, {"exchange.timeout_s=5"}, Started::environment,
                                      {{"TERSE_FAULT", "hang:1:15"}});
  EXPECT_EQ(outcome.exits[0].code, 4) << outcome.text();
  EXPECT_NE(outcome.exits[0].output.find("rank 1"), std::string::npos) << outcome.text();
}

// SIGTERM: saved, exit code 75; resumed, the same end.
TEST(FaultSlow, TerminatedRunIsSavedAndResumes) {
  SmallRun small;
  const std::vector<std::string> sets = {"train.steps=400", "checkpoint.every=0",
                                         "train.log_every=1"};
  ASSERT_TRUE(small.train("whole", 2, sets).ok());
  testing::Job job(small.train_launch("run", 2, sets));
  ASSERT_TRUE(job.wait_for(0, "step 25/")) << job.wait().text();
  job.signal(1, SIGTERM);
  const Outcome stopped = job.wait();
  for (const auto& exit : stopped.exits) EXPECT_EQ(exit.code, 75) << stopped.text();
  const Outcome resumed = small.resume("run", 2);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  EXPECT_EQ(small.losses("run"), small.losses("whole"));
  EXPECT_TRUE(small.final_state("run") == small.final_state("whole"));
}

// A signal's handler is in place, so that it ends nothing by itself any more.
bool catches(int pid, int signal) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("SigCgt:"))
      return (std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) != 0;
  return false;
}

// There is nothing to save yet: said so, nothing half-written, and the same command starts afresh.
TEST(FaultSlow, TerminatedPreparationLeavesNothing) {
  SmallRun small;
  testing::Job job(small.train_launch("run", 2, {}));
  while (job.running(0) && !catches(job.pid(0), SIGTERM))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  job.signal(0, SIGTERM);
  const Outcome stopped = job.wait();
  for (const auto& exit : stopped.exits) EXPECT_EQ(exit.code, 75) << stopped.text();
  EXPECT_TRUE(says(stopped, "before the first step")) << stopped.text();
  EXPECT_FALSE(std::filesystem::exists(small.path("data")));
  EXPECT_FALSE(std::filesystem::exists(small.path("run")));
  const Outcome again = small.train("run", 2, {"train.steps=25"});
  EXPECT_TRUE(again.ok()) << again.text();
}

// All steps are taken and saved: the closing evaluation is left, and done when the run is resumed.
TEST(FaultSlow, TerminatedClosingIsDoneByResume) {
  SmallRun small;
  const std::vector<std::string> sets = {"train.log_every=1", "data.valid=0.5"};
  testing::Job job(small.train_launch("run", 2, sets));
  ASSERT_TRUE(job.wait_for(0, "step 60/")) << job.wait().text();
  job.signal(1, SIGTERM);
  const Outcome stopped = job.wait();
  for (const auto& exit : stopped.exits) EXPECT_EQ(exit.code, 75) << stopped.text();
  EXPECT_TRUE(says(stopped, "saved; go on with: terse resume")) << stopped.text();
  EXPECT_FALSE(std::filesystem::exists(small.path("run/results.json")));
  const std::string state = small.final_state("run");
  const Outcome resumed = small.resume("run", 2);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  EXPECT_TRUE(std::filesystem::exists(small.path("run/results.json")));
  EXPECT_TRUE(small.final_state("run") == state);
}

// Disk full in mid-run on either rank: a warning, no trace of that checkpoint, the same end. At the
// last save there is nothing to go on to.
TEST(FaultSlow, DiskFullInMidRunIsAWarningAndAtTheEndAnError) {
  SmallRun small;
  ASSERT_TRUE(small.train("whole", 2, {"checkpoint.keep=9"}).ok());
  for (const std::string rank : {"0", "1"}) {
    const std::string run = "full" + rank;
    const Outcome outcome = small.train(run, 2, {"checkpoint.keep=9"}, Started::environment,
                                        {{"TERSE_FAULT", "full:" + rank + ":30"}});
    ASSERT_TRUE(outcome.ok()) << outcome.text();
    EXPECT_TRUE(says(outcome, "step-00000030: not saved")) << outcome.text();
    EXPECT_TRUE(says(outcome, "going on without it")) << outcome.text();
    const std::string checkpoints = small.path(run) + "/checkpoints";
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints))
      names.push_back(entry.path().filename());
    std::ranges::sort(names);
    EXPECT_EQ(names, (std::vector<std::string>{"step-00000010", "step-00000020", "step-00000040",
                                               "step-00000050", "step-00000060"}));
    EXPECT_TRUE(small.final_state(run) == small.final_state("whole"));
  }
  const Outcome last =
      small.train("last", 2, {}, Started::environment, {{"TERSE_FAULT", "full:1:60"}});
  for (const auto& exit : last.exits) EXPECT_EQ(exit.code, 5) << last.text();
  EXPECT_TRUE(says(last, "rank 1 could not write its part")) << last.text();
}

// A survivor that is asked to stop saves nothing: the dead peer is the reason, not the signal.
TEST(FaultSlow, TerminatedSurvivorReportsTheDeadPeer) {
  SmallRun small;
  testing::Launch launch = small.train_launch("run", 2, {});
  launch.environment = {{"TERSE_FAULT", "kill:1:30"}};
  testing::Job job(launch);
  while (job.running(1)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  job.signal(0, SIGTERM);
  const Outcome outcome = job.wait();
  EXPECT_EQ(outcome.exits[1].signal, SIGKILL) << outcome.text();
  EXPECT_EQ(outcome.exits[0].code, 3) << outcome.text();
}

// The newest checkpoint is damaged: the one before is used, the reason is said, the end is the
// same.
TEST(FaultSlow, DamagedCheckpointFallsBack) {
  SmallRun small;
  ASSERT_TRUE(small.train("run", 2).ok());
  const std::string whole = small.final_state("run");
  const std::string damaged = small.path("run/checkpoints/step-00000060/shared.safetensors");
  std::fstream(damaged, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).put('\x7f');
  const Outcome resumed = small.resume("run", 2);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  EXPECT_TRUE(says(resumed, "step-00000060")) << resumed.text();
  EXPECT_TRUE(says(resumed, "step-00000050")) << resumed.text();
  EXPECT_TRUE(small.final_state("run") == whole);
}

// The five losses from step 41 on.
double mean_after_resume(const std::vector<double>& losses) {
  return std::accumulate(losses.begin() + 40, losses.begin() + 45, 0.0) / 5;
}

// Killed in step 45 and gone on with from the checkpoint of step 40.
void resumes_on_another_number(SmallRun& small, int from, int to) {
  SCOPED_TRACE(fmt::format("{} -> {} ranks", from, to));
  const std::string name = fmt::format("whole{}", from), run = fmt::format("run{}", from);
  ASSERT_TRUE(small.train(name, from).ok());
  const Outcome killed =
      small.train(run, from, {}, Started::environment, {{"TERSE_FAULT", "kill:0:45"}});
  ASSERT_EQ(killed.exits[1].code, 3) << killed.text();
  const Outcome resumed = small.resume(run, to);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  ASSERT_TRUE(says(resumed, "step-00000040")) << resumed.text();
  const auto losses = small.losses(run), whole = small.losses(name);
  ASSERT_EQ(losses.size(), whole.size());
  EXPECT_TRUE(std::equal(losses.begin(), losses.begin() + 40, whole.begin()));
  // The same weights and the same tokens: only means over other numbers of ranks round otherwise.
  EXPECT_NEAR(losses[40], whole[40], 1e-5 * whole[40]);
  // Residuals are redistributed, not lost: no jump. Losses differ by 1.5 % from step to step; these
  // means by 0.2 and 0.35 %, and six times that is allowed.
  EXPECT_NEAR(mean_after_resume(losses), mean_after_resume(whole), 0.02 * mean_after_resume(whole));
  // And the curve stays within the noise of compression.
  EXPECT_NEAR(losses.back(), whole.back(), 0.15 * whole.back());
}

// Another number of ranks goes on from the same checkpoint; no sample is lost or repeated, since
// the cursor counts windows of all ranks, and the loss continues.
TEST(FaultSlow, ResumesOnAnotherNumberOfRanks) {
  SmallRun small;
  resumes_on_another_number(small, 2, 4);
  resumes_on_another_number(small, 4, 2);
}

// Two ranks that somebody started with different recipes.
TEST(FaultSlow, ARankWithAnotherRecipeIsNamed) {
  SmallRun small;
  const std::string port = std::to_string(testing::free_port());
  const auto launch = [&](const char* rank, const char* set) {
    testing::Launch one = small.train_launch("run", 1, {set});
    one.environment = {{"RANK", rank}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", port}};
    return one;
  };
  testing::Job zero(launch("0", "optim.lr=1e-3"));
  testing::Job one(launch("1", "optim.lr=2e-3"));
  for (const Outcome& outcome : {zero.wait(), one.wait()}) {
    EXPECT_EQ(outcome.exits[0].code, 7) << outcome.text();
    EXPECT_TRUE(says(outcome, "the recipe of rank 1 differs from rank 0's")) << outcome.text();
  }
  EXPECT_FALSE(std::filesystem::exists(small.path("run")));
}

TEST(FaultSlow, RanksThatDisagreeAreNamed) {
  SmallRun small;
  ASSERT_TRUE(small.train("first", 1, {}).ok());  // prepares the data
  // The batch cannot be shared by three ranks.
  const Outcome uneven = small.train("uneven", 3);
  for (const auto& exit : uneven.exits) EXPECT_EQ(exit.code, 2) << uneven.text();
  EXPECT_TRUE(says(uneven, "batch_tokens")) << uneven.text();
}

}  // namespace
}  // namespace terse
