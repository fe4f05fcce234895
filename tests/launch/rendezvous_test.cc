#include "launch/rendezvous.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "launch/binding.h"
#include "launch/doctor.h"
#include "tests/support/processes.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using testing::Launch;
using testing::Outcome;
using testing::Started;
using namespace std::chrono_literals;

Outcome run(Started launcher, int ranks, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), TERSE_RANKS_PROGRAM);
  Launch launch;
  launch.launcher = launcher;
  launch.ranks = ranks;
  launch.command = std::move(arguments);
  launch.limit = 60s;
  return testing::run_ranks(launch);
}

class Rendezvous : public ::testing::TestWithParam<Started> {};

TEST_P(Rendezvous, EveryRankMeetsTheOthers) {
  if (!testing::available(GetParam())) GTEST_SKIP() << "launcher is not installed";
  const Outcome outcome = run(GetParam(), 3, {"join"});
  ASSERT_TRUE(outcome.ok()) << outcome.text();
  std::string all;
  for (const auto& e : outcome.exits) all += e.output;
  for (int r = 0; r < 3; ++r) {
    EXPECT_THAT(all, HasSubstr(fmt::format(
                         "rank {0} of 3, local {0} of 3, node 0 of 1, address 127.0.0.1", r)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Rendezvous,
                         ::testing::Values(Started::environment, Started::mpirun,
                                           Started::torchrun),
                         [](const auto& test) { return testing::name_of(test.param); });

TEST(RendezvousErrors, NameTheRankThatDidNotCome) {
  const Outcome outcome = run(Started::environment, 3, {"absent", "2"});
  for (const size_t r : {size_t{0}, size_t{2}}) {
    EXPECT_EQ(outcome.exits[r].code, static_cast<int>(ExitCode::deadline)) << outcome.text();
  }
  // Rank 2 may lose rank 0's store first; rank 0 hosts it and always knows.
  EXPECT_THAT(outcome.exits[0].output, HasSubstr("rank 1 did not come")) << outcome.text();
}

// Either may be the first to come, and neither waits for ranks that do not exist.
TEST(RendezvousErrors, DifferentNumbersOfRanksAreNamedByBoth) {
  for (const auto& [first, second] : {std::pair{"2", "3"}, std::pair{"3", "2"}}) {
    const std::string port = std::to_string(testing::free_port());
    const auto launch = [&](const char* rank, const char* size) {
      Launch one;
      one.command = {TERSE_RANKS_PROGRAM, "join", "20"};
      one.environment = {{"RANK", rank}, {"WORLD_SIZE", size}, {"MASTER_PORT", port}};
      return one;
    };
    testing::Job zero(launch("0", first));
    testing::Job one(launch("1", second));
    for (const Outcome& outcome : {zero.wait(), one.wait()}) {
      EXPECT_EQ(outcome.exits[0].code, static_cast<int>(ExitCode::disagree)) << outcome.text();
      for (const std::string& said : {fmt::format("rank 0 was started as one of {}", first),
                                      fmt::format("rank 1 as one of {}", second)})
        EXPECT_THAT(outcome.exits[0].output, HasSubstr(said));
      EXPECT_LT(outcome.seconds, 15) << "it must not wait for the deadline of 20 s";
    }
  }
}

TEST(RendezvousErrors, APortInUseIsAUsageError) {
  World world;
  world.size = 2;
  world.master_address = "127.0.0.1";
  world.master_port = testing::free_port();
  World other = world;
  other.job = "other";
  // The first listens for as long as it waits for its rank 1, which never comes.
  std::exception_ptr first;
  std::thread holder([&] {
    try {
      join(world, 3s);
    } catch (...) {
      first = std::current_exception();
    }
  });
  std::this_thread::sleep_for(500ms);
  try {
    join(other, 1s);
    ADD_FAILURE() << "two servers on one port";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(std::to_string(world.master_port)));
  }
  holder.join();
  EXPECT_TRUE(first);
}

TEST(RendezvousErrors, NobodyListens) {
  World world;
  world.rank = 1;
  world.size = 2;
  world.master_address = "127.0.0.1";
  world.master_port = testing::free_port();
  try {
    join(world, 1s);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::deadline);
    EXPECT_THAT(e.what(), HasSubstr("rank 0"));
  }
}

TEST(RendezvousSingle, NeedsNoNetwork) {
  World world;
  const auto store = join(world, 1s);
  store->set("a", "b");
  EXPECT_EQ(store->get_to_str("a"), "b");
}

TEST(Doctor, ReportsTheLaunchAsJson) {
  const Environment environment = {
      {"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"}};
  const auto json = nlohmann::json::parse(render_json(examine(environment)));
  EXPECT_EQ(json["world"]["launcher"], "environment");
  EXPECT_EQ(json["world"]["rank"], 1);
  EXPECT_EQ(json["world"]["origin"]["size"], "WORLD_SIZE");
  EXPECT_GT(json["memory_bytes"].get<int64_t>(), 0);
  EXPECT_GT(json["allowed_cpus"].get<int>(), 0);
  EXPECT_THAT(json["torch"].get<std::string>(), HasSubstr("2."));
  EXPECT_THAT(json["mpi"].get<std::string>(), HasSubstr("MPI"));
  EXPECT_FALSE(json.contains("world_error"));
}

// The second of two ranks on a machine gets its share, or with --bind none the launcher's mask.
TEST(Doctor, ReportsTheBindingThatWasAskedFor) {
  const Environment environment = {{"RANK", "1"},        {"WORLD_SIZE", "2"},
                                   {"LOCAL_RANK", "1"},  {"LOCAL_WORLD_SIZE", "2"},
                                   {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29500"}};
  const World world = resolve_world(environment);
  for (const Bind bind : {Bind::automatic, Bind::none}) {
    const Binding wanted = intended_binding(world, {.bind = bind, .threads = 3});
    const Binding got = examine(environment, {}, {.bind = bind, .threads = 3}).binding;
    EXPECT_EQ(got.text, wanted.text);
    EXPECT_EQ(got.cpus, wanted.cpus);
    EXPECT_EQ(got.threads, 3);
  }
  cpu_set_t mask;
  ASSERT_EQ(::sched_getaffinity(0, sizeof mask, &mask), 0);
  const Binding all = examine(environment, {}, {.bind = Bind::none}).binding;
  EXPECT_EQ(static_cast<int>(all.cpus.size()), CPU_COUNT(&mask));
}

TEST(Doctor, SaysWhereEveryValueCameFrom) {
  const Environment two = {
      {"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "29500"}};
  const Environment torchrun = {{"TORCHELASTIC_RUN_ID", "j"}, {"TORCHELASTIC_RESTART_COUNT", "1"},
                                {"LOCAL_RANK", "1"},          {"LOCAL_WORLD_SIZE", "2"},
                                {"GROUP_RANK", "0"},          {"GROUP_WORLD_SIZE", "1"}};
  Environment elastic = two;
  elastic.insert(torchrun.begin(), torchrun.end());
  for (const Environment& environment : {Environment{}, two, elastic}) {
    std::istringstream text(render_text(examine(environment)));
    int values = 0;
    for (std::string line; std::getline(text, line) && !line.starts_with("host");) {
      const std::string name = line.substr(0, line.find(' '));
      if (name == "launcher" || name == "store") continue;
      EXPECT_TRUE(line.find(" from ") != std::string::npos ||
                  line.ends_with("known after rendezvous"))
          << line;
      ++values;
    }
    EXPECT_EQ(values, environment.empty() ? 8 : 10);
  }
  EXPECT_EQ(examine(elastic).world.origin.at("restart"), "TORCHELASTIC_RESTART_COUNT");
  EXPECT_EQ(examine({}).world.origin.at("job"), "default");
}

TEST(Doctor, ReportsAWrongLaunchInsteadOfFailing) {
  const DoctorReport report = examine({{"RANK", "1"}});
  EXPECT_THAT(report.world_error, HasSubstr("RANK"));
  EXPECT_THAT(render_text(report), HasSubstr("WRONG"));
}

}  // namespace
}  // namespace terse
