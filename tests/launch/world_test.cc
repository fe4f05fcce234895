#include "launch/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

struct Expected {
  Launcher launcher;
  int rank, size, local_rank, local_size;
};

struct Fixture {
  const char* name;
  Environment environment;
  WorldFlags flags;
  Expected expected;
};

WorldFlags flags_of(int rank, int size) {
  WorldFlags flags;
  flags.rank = rank;
  flags.world_size = size;
  return flags;
}

WorldFlags only_rank(int rank) {
  WorldFlags flags;
  flags.rank = rank;
  return flags;
}

WorldFlags with_master(WorldFlags flags, const char* address, int port) {
  flags.master_addr = address;
  flags.master_port = port;
  return flags;
}

// What torch 2.11's torchrun sets.
Environment torchrun(const char* rank, const char* size, const char* local, const char* locals) {
  return {{"RANK", rank},
          {"WORLD_SIZE", size},
          {"LOCAL_RANK", local},
          {"LOCAL_WORLD_SIZE", locals},
          {"GROUP_RANK", "0"},
          {"GROUP_WORLD_SIZE", "1"},
          {"ROLE_RANK", rank},
          {"ROLE_WORLD_SIZE", size},
          {"MASTER_ADDR", "10.0.0.1"},
          {"MASTER_PORT", "29400"},
          {"TORCHELASTIC_RUN_ID", "job7"},
          {"TORCHELASTIC_RESTART_COUNT", "2"},
          {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
}

// What Open MPI 4.1.4 sets.
Environment openmpi(const char* rank, const char* size, const char* local, const char* locals) {
  return {{"OMPI_COMM_WORLD_RANK", rank},        {"OMPI_COMM_WORLD_SIZE", size},
          {"OMPI_COMM_WORLD_LOCAL_RANK", local}, {"OMPI_COMM_WORLD_LOCAL_SIZE", locals},
          {"PMIX_NAMESPACE", "1234567"},         {"PMIX_RANK", rank}};
}

// What srun sets inside a step.
Environment srun(const char* rank, const char* size, const char* local) {
  return {{"SLURM_PROCID", rank},
          {"SLURM_NTASKS", size},
          {"SLURM_STEP_NUM_TASKS", size},
          {"SLURM_LOCALID", local},
          {"SLURM_NODEID", "0"},
          {"SLURM_NNODES", "2"},
          {"SLURM_JOB_ID", "4711"},
          {"SLURM_STEP_ID", "3"},
          {"SLURM_JOB_NODELIST", "node[03-04]"},
          {"SLURM_TASKS_PER_NODE", "2(x2)"}};
}

Environment plain(const char* rank, const char* size) {
  return {
      {"RANK", rank}, {"WORLD_SIZE", size}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"}};
}

Environment joined(Environment a, const Environment& b) {
  a.insert(b.begin(), b.end());
  return a;
}

Environment changed(Environment a, const char* name, const char* value) {
  a[name] = value;
  return a;
}

Environment without(Environment a, std::initializer_list<const char*> names) {
  for (const char* name : names) a.erase(name);
  return a;
}

const Fixture kGood[] = {
    {"nothing", {}, {}, {Launcher::single, 0, 1, 0, 1}},
    {"unrelated", {{"PATH", "/bin"}}, {}, {Launcher::single, 0, 1, 0, 1}},
    {"torchrun first", torchrun("0", "2", "0", "2"), {}, {Launcher::torchrun, 0, 2, 0, 2}},
    {"torchrun last", torchrun("1", "2", "1", "2"), {}, {Launcher::torchrun, 1, 2, 1, 2}},
    {"torchrun alone", torchrun("0", "1", "0", "1"), {}, {Launcher::torchrun, 0, 1, 0, 1}},
    {"torchrun, second machine",
     changed(changed(torchrun("5", "8", "1", "4"), "GROUP_RANK", "1"), "GROUP_WORLD_SIZE", "2"),
     {},
     {Launcher::torchrun, 5, 8, 1, 4}},
    {"plain, loopback master", plain("2", "3"), {}, {Launcher::environment, 2, 3, 2, 3}},
    {"plain, alone without master",
     {{"RANK", "0"}, {"WORLD_SIZE", "1"}},
     {},
     {Launcher::environment, 0, 1, 0, 1}},
    {"plain with local",
     joined(changed(plain("3", "4"), "MASTER_ADDR", "10.1.1.1"),
            {{"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"}}),
     {},
     {Launcher::environment, 3, 4, 1, 2}},
    {"openmpi", openmpi("1", "4", "1", "2"), {}, {Launcher::openmpi, 1, 4, 1, 2}},
    {"openmpi alone", openmpi("0", "1", "0", "1"), {}, {Launcher::openmpi, 0, 1, 0, 1}},
    {"openmpi with master",
     joined(openmpi("1", "2", "1", "2"), {{"MASTER_ADDR", "h"}, {"MASTER_PORT", "1"}}),
     {},
     {Launcher::openmpi, 1, 2, 1, 2}},
    {"srun", srun("1", "4", "1"), {}, {Launcher::srun, 1, 4, 1, 2}},
    {"srun, table of variables only",
     without(srun("3", "4", "1"),
             {"SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_TASKS_PER_NODE"}),
     {},
     {Launcher::srun, 3, 4, 1, 1}},
    {"batch script's own shell",
     joined(without(srun("0", "4", "0"), {"SLURM_STEP_ID"}), {{"ENVIRONMENT", "BATCH"}}),
     {},
     {Launcher::single, 0, 1, 0, 1}},
    {"step inside a batch script",
     joined(srun("2", "4", "0"), {{"ENVIRONMENT", "BATCH"}}),
     {},
     {Launcher::srun, 2, 4, 0, 2}},
    {"srun torchrun",
     joined(torchrun("3", "4", "1", "2"), srun("1", "2", "0")),
     {},
     {Launcher::torchrun, 3, 4, 1, 2}},
    {"mpirun in a batch job",
     joined(openmpi("1", "2", "1", "2"), srun("0", "1", "0")),
     {},
     {Launcher::openmpi, 1, 2, 1, 2}},
    {"RANK agrees with mpirun",
     joined(plain("1", "2"), openmpi("1", "2", "1", "2")),
     {},
     {Launcher::environment, 1, 2, 1, 2}},
    {"flags alone",
     {},
     with_master(flags_of(1, 2), "127.0.0.1", 5000),
     {Launcher::flags, 1, 2, 1, 2}},
    {"flags, single", {}, flags_of(0, 1), {Launcher::flags, 0, 1, 0, 1}},
    {"flags agree with the environment",
     plain("1", "2"),
     flags_of(1, 2),
     {Launcher::flags, 1, 2, 1, 2}},
    {"flags over Slurm's hints",
     joined(without(srun("0", "4", "0"), {"SLURM_STEP_ID"}), {{"ENVIRONMENT", "BATCH"}}),
     with_master(flags_of(1, 3), "localhost", 5000),
     {Launcher::flags, 1, 3, 1, 3}},
    {"set to nothing", {{"RANK", ""}, {"WORLD_SIZE", ""}}, {}, {Launcher::single, 0, 1, 0, 1}},
    {"stray master", {{"MASTER_ADDR", "10.0.0.1"}}, {}, {Launcher::single, 0, 1, 0, 1}},
};

TEST(World, ResolvesEveryLauncher) {
  for (const Fixture& f : kGood) {
    SCOPED_TRACE(f.name);
    World world;
    ASSERT_NO_THROW(world = resolve_world(f.environment, f.flags));
    EXPECT_EQ(world.launcher, f.expected.launcher);
    EXPECT_EQ(world.rank, f.expected.rank);
    EXPECT_EQ(world.size, f.expected.size);
    if (!world.local_known) continue;
    EXPECT_EQ(world.local_rank, f.expected.local_rank);
    EXPECT_EQ(world.local_size, f.expected.local_size);
    EXPECT_TRUE(world.origin.contains("rank"));
  }
}

struct Bad {
  const char* name;
  Environment environment;
  WorldFlags flags;
  std::vector<const char*> said;  // all of these appear in the message
};

const Bad kBad[] = {
    {"rank without size", {{"RANK", "0"}}, {}, {"RANK", "WORLD_SIZE"}},
    {"size without rank", {{"WORLD_SIZE", "2"}}, {}, {"WORLD_SIZE", "RANK"}},
    {"negative rank", plain("-1", "2"), {}, {"RANK", "-1"}},
    {"rank beyond size", plain("2", "2"), {}, {"RANK", "2"}},
    {"zero size", plain("0", "0"), {}, {"WORLD_SIZE", "0"}},
    {"rank is text", plain("one", "2"), {}, {"RANK=one"}},
    {"rank with a tail", plain("1x", "2"), {}, {"RANK=1x"}},
    {"size is a fraction", plain("1", "2.5"), {}, {"WORLD_SIZE=2.5"}},
    {"size overflows", plain("1", "99999999999"), {}, {"WORLD_SIZE=99999999999"}},
    {"no master", {{"RANK", "0"}, {"WORLD_SIZE", "2"}}, {}, {"MASTER_ADDR", "MASTER_PORT"}},
    {"no port", without(plain("0", "2"), {"MASTER_PORT"}), {}, {"MASTER_PORT"}},
    {"port too large",
     changed(plain("0", "2"), "MASTER_PORT", "70000"),
     {},
     {"MASTER_PORT", "70000"}},
    {"port is text", changed(plain("0", "2"), "MASTER_PORT", "http"), {}, {"MASTER_PORT=http"}},
    {"local rank beyond local size",
     changed(torchrun("0", "4", "2", "2"), "RANK", "2"),
     {},
     {"LOCAL_RANK"}},
    {"more local ranks than ranks", torchrun("0", "2", "0", "4"), {}, {"LOCAL_WORLD_SIZE", "4"}},
    {"RANK against mpirun",
     joined(plain("0", "2"), openmpi("1", "2", "1", "2")),
     {},
     {"RANK", "OMPI_COMM_WORLD_RANK"}},
    {"WORLD_SIZE against mpirun",
     joined(plain("1", "2"), openmpi("1", "4", "1", "4")),
     {},
     {"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"}},
    {"flag against RANK", plain("0", "2"), flags_of(1, 2), {"--rank", "RANK"}},
    {"flag against WORLD_SIZE", plain("0", "2"), flags_of(0, 3), {"--world-size", "WORLD_SIZE"}},
    {"flag against mpirun",
     openmpi("0", "2", "0", "2"),
     flags_of(1, 2),
     {"--rank", "OMPI_COMM_WORLD_RANK"}},
    {"flag against torchrun's port",
     torchrun("0", "2", "0", "2"),
     with_master(flags_of(0, 2), "10.0.0.1", 1),
     {"--master-port", "MASTER_PORT"}},
    {"flag against torchrun's address",
     torchrun("0", "2", "0", "2"),
     with_master(flags_of(0, 2), "10.0.0.2", 29400),
     {"--master-addr", "MASTER_ADDR"}},
    {"flag against srun", srun("0", "4", "0"), flags_of(1, 4), {"--rank", "SLURM_PROCID"}},
    {"rank flag alone", {}, only_rank(1), {"--rank", "--world-size"}},
    {"flags without master", {}, flags_of(0, 2), {"--master-addr"}},
    {"negative flag", {}, with_master(flags_of(-2, 2), "localhost", 1), {"--rank", "-2"}},
    {"half of mpirun", {{"OMPI_COMM_WORLD_RANK", "0"}}, {}, {"OMPI_COMM_WORLD_RANK"}},
    {"half of srun", {{"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "0"}}, {}, {"SLURM_PROCID"}},
    {"malformed host list",
     changed(srun("0", "4", "0"), "SLURM_JOB_NODELIST", "node[1-"),
     {},
     {"node[1-"}},
    {"malformed tasks per node",
     changed(srun("0", "4", "0"), "SLURM_TASKS_PER_NODE", "x"),
     {},
     {"SLURM_TASKS_PER_NODE"}},
    {"negative restart",
     changed(torchrun("0", "2", "0", "2"), "TORCHELASTIC_RESTART_COUNT", "-1"),
     {},
     {"RESTART_COUNT"}},
};

TEST(World, SaysWhatIsWrong) {
  for (const Bad& bad : kBad) {
    SCOPED_TRACE(bad.name);
    try {
      resolve_world(bad.environment, bad.flags);
      ADD_FAILURE() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::usage);
      for (const char* text : bad.said) EXPECT_THAT(e.what(), HasSubstr(text));
    }
  }
}

TEST(World, TorchrunDetails) {
  const World world = resolve_world(torchrun("1", "2", "1", "2"));
  EXPECT_TRUE(world.agent_store);
  EXPECT_EQ(world.restart, 2);
  EXPECT_EQ(world.job, "job7");
  EXPECT_EQ(world.master_address, "10.0.0.1");
  EXPECT_EQ(world.master_port, 29400);
  EXPECT_EQ(world.origin.at("rank"), "RANK");
  EXPECT_EQ(world.origin.at("master_port"), "MASTER_PORT");
  const auto own_store =
      changed(torchrun("1", "2", "1", "2"), "TORCHELASTIC_USE_AGENT_STORE", "False");
  EXPECT_FALSE(resolve_world(own_store).agent_store);
}

TEST(World, SlurmMasterIsTheFirstHostAndThePortComesFromTheJob) {
  const World world = resolve_world(srun("2", "4", "0"));
  EXPECT_EQ(world.master_address, "node03");
  EXPECT_EQ(world.master_port, 20'000 + (4711 + 3) % 12'000);
  EXPECT_EQ(world.origin.at("master_address"), "SLURM_JOB_NODELIST");
  EXPECT_EQ(world.origin.at("master_port"), "SLURM_JOB_ID");
  EXPECT_EQ(world.nodes, 2);
  EXPECT_EQ(world.job, "slurm-4711.3");
}

TEST(World, MpirunLetsRankZeroPickTheAddress) {
  const World world = resolve_world(openmpi("1", "2", "1", "2"));
  EXPECT_TRUE(world.master_address.empty());
  EXPECT_TRUE(world.under_mpirun);
}

TEST(World, PlainRanksOfAnotherMachineLearnTheirPlaceLater) {
  const World world = resolve_world(changed(plain("1", "2"), "MASTER_ADDR", "10.0.0.1"));
  EXPECT_FALSE(world.local_known);
}

TEST(World, UnevenTasksPerNode) {
  auto environment = changed(srun("3", "5", "0"), "SLURM_TASKS_PER_NODE", "3,2");
  environment["SLURM_NODEID"] = "1";
  EXPECT_EQ(resolve_world(environment).local_size, 2);
}

TEST(HostList, Expands) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(expand_host_list("a"), Names{"a"});
  EXPECT_EQ(expand_host_list("a,b"), (Names{"a", "b"}));
  EXPECT_EQ(expand_host_list("node[01-03,7],gpu1"),
            (Names{"node01", "node02", "node03", "node7", "gpu1"}));
  EXPECT_EQ(expand_host_list("n[9-11]"), (Names{"n9", "n10", "n11"}));
  EXPECT_EQ(expand_host_list("n[099-101].x"), (Names{"n099.x", "n100.x", "n101.x"}));
  EXPECT_EQ(expand_host_list("r[1-2]n[1,3]"), (Names{"r1n1", "r1n3", "r2n1", "r2n3"}));
}

TEST(HostList, RefusesWhatIsMalformedOrHuge) {
  for (const char* list :
       {"", "a,", ",a", "n[", "n[1", "n]1", "n[[1]]", "n[a-b]", "n[3-1]", "n[]", "n[1-]",
        "n[1-999999999]", "n[0-999][0-999]", "n[99999999999999999999]"}) {
    SCOPED_TRACE(list);
    EXPECT_THROW(expand_host_list(list), Error);
  }
}

}  // namespace
}  // namespace terse
