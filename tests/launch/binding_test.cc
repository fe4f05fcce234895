// Bindings on machines that this one is not: hwloc's synthetic topologies.
#include "launch/binding.h"

#include <gtest/gtest.h>
#include <hwloc.h>

#include <memory>
#include <numeric>
#include <set>

#include "base/error.h"

namespace terse {
namespace {

using Cpus = std::vector<int>;

struct Machine {
  explicit Machine(const char* description) {
    hwloc_topology_init(&topology);
    EXPECT_EQ(hwloc_topology_set_synthetic(topology, description), 0);
    hwloc_topology_load(topology);
    all.resize(static_cast<size_t>(hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU)));
    std::iota(all.begin(), all.end(), 0);
  }
  ~Machine() { hwloc_topology_destroy(topology); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Binding bind(const Cpus& mask, const Cpus& allowed, int local_rank, int local_size,
               Launcher launcher = Launcher::openmpi, bool bound_by_mpirun = true) const {
    World world;
    world.launcher = launcher;
    world.rank = world.local_rank = local_rank;
    world.size = world.local_size = local_size;
    BindingOptions options;
    options.bound_by_mpirun = bound_by_mpirun;
    return plan_binding(topology, mask, allowed, world, options);
  }
  hwloc_topology_t topology = nullptr;
  Cpus all;
};

struct Fixture {
  const char* machine;
  Cpus mask;     // empty: everything
  Cpus allowed;  // empty: everything
  int local_rank, local_size;
  Cpus cpus;
  int cores;
};

// hwloc numbers a synthetic core's threads next to each other.
const Fixture kFixtures[] = {
    {"core:2 pu:1", {}, {}, 0, 1, {0, 1}, 2},
    {"core:2 pu:1", {}, {}, 0, 2, {0}, 1},
    {"core:2 pu:1", {}, {}, 1, 2, {1}, 1},
    {"core:8 pu:1", {}, {}, 1, 2, {4, 5, 6, 7}, 4},
    {"core:8 pu:1", {}, {}, 2, 3, {5, 6, 7}, 3},
    {"core:4 pu:2", {}, {}, 1, 2, {4, 5, 6, 7}, 2},            // whole cores, both threads
    {"pack:2 core:4 pu:1", {}, {}, 1, 2, {4, 5, 6, 7}, 4},     // one socket each
    {"pack:2 numa:2 core:2 pu:1", {}, {}, 3, 4, {6, 7}, 2},    // one NUMA node each
    {"core:8 pu:1", {3}, {}, 1, 2, {4, 5, 6, 7}, 4},           // mpirun's one core: widened
    {"core:8 pu:1", {4, 5, 6, 7}, {}, 1, 2, {4, 5, 6, 7}, 4},  // the launcher's own fair share:
                                                               // kept
    {"core:8 pu:1", {0, 1}, {0, 1}, 1, 2, {1}, 1},             // a cgroup of two cores
    {"core:8 pu:1", {2}, {2, 3, 6, 7}, 0, 2, {2, 3}, 2},       // widened, but within the cgroup
    {"core:2 pu:1", {}, {}, 3, 4, {1}, 1},                     // more ranks than cores: shared
    {"core:4 pu:1", {0, 1, 2}, {}, 1, 2, {1, 2}, 2},  // a mask above the fair share is divided
};

TEST(Binding, SharesOfSyntheticMachines) {
  for (const Fixture& f : kFixtures) {
    SCOPED_TRACE(::testing::Message()
                 << f.machine << ", rank " << f.local_rank << " of " << f.local_size);
    const Machine machine(f.machine);
    const Binding binding =
        machine.bind(f.mask.empty() ? machine.all : f.mask,
                     f.allowed.empty() ? machine.all : f.allowed, f.local_rank, f.local_size);
    EXPECT_EQ(binding.cpus, f.cpus);
    EXPECT_EQ(binding.cores, f.cores);
    EXPECT_EQ(binding.threads, f.cores);
  }
}

TEST(Binding, ANarrowMaskThatMpirunDidNotSetIsAWish) {
  const Machine machine("core:8 pu:1");
  const auto bind = [&](const Cpus& mask, int rank, Launcher launcher) {
    return machine.bind(mask, machine.all, rank, 2, launcher, false);
  };
  // One mask for all ranks of a host, as taskset sets it: they share it.
  EXPECT_EQ(bind({2, 3}, 1, Launcher::environment).cpus, (Cpus{3}));
  EXPECT_EQ(bind({5}, 1, Launcher::torchrun).cpus, (Cpus{5}));
  EXPECT_EQ(bind({5}, 0, Launcher::openmpi).cpus, (Cpus{5}));  // mpirun --bind-to none
  EXPECT_EQ(bind({5}, 0, Launcher::openmpi).threads, 1);
  // srun gives each task its own.
  EXPECT_EQ(bind({2, 3}, 1, Launcher::srun).cpus, (Cpus{2, 3}));
}

TEST(Binding, SharesAreDisjointAndCoverTheMachine) {
  const Machine machine("pack:2 core:7 pu:2");
  for (int ranks = 1; ranks <= 14; ++ranks) {
    std::set<int> seen;
    size_t total = 0;
    for (int r = 0; r < ranks; ++r) {
      const Binding binding = machine.bind(machine.all, machine.all, r, ranks);
      EXPECT_GT(binding.cores, 0);
      total += binding.cpus.size();
      seen.insert(binding.cpus.begin(), binding.cpus.end());
    }
    EXPECT_EQ(total, machine.all.size()) << ranks;
    EXPECT_EQ(seen.size(), machine.all.size()) << ranks;
  }
}

TEST(Binding, OneLineSaysEverything) {
  const Machine machine("core:8 pu:1");
  EXPECT_EQ(machine.bind({3}, machine.all, 1, 2).text,
            "rank 1: 4 of 8 cores (cpus 4-7), 4 threads, widened from the launcher's cpus 3");
}

// torchrun sets OMP_NUM_THREADS=1 itself: each of two ranks on eight cores still gets its four.
TEST(Binding, TorchrunsOwnSingleThreadIsNoWish) {
  const Machine machine("core:8 pu:1");
  const Environment torchrun = {{"TORCHELASTIC_RUN_ID", "none"}, {"LOCAL_WORLD_SIZE", "2"}};
  const auto bind = [&](Environment environment, const char* omp, std::optional<int> threads = {}) {
    if (omp != nullptr) environment["OMP_NUM_THREADS"] = omp;
    World world;
    world.launcher = Launcher::torchrun;
    world.size = world.local_size = 2;
    BindingOptions options;
    options.threads = threads;
    options.omp = omp_setting(environment);
    return plan_binding(machine.topology, machine.all, machine.all, world, options);
  };
  EXPECT_EQ(bind(torchrun, "1").threads, 4);
  EXPECT_EQ(bind(torchrun, "1").text,
            "rank 0: 4 of 8 cores (cpus 0-3), 4 threads, torchrun's OMP_NUM_THREADS=1 ignored");
  EXPECT_EQ(bind(torchrun, "1", 1).text, "rank 0: 4 of 8 cores (cpus 0-3), 1 thread");
  EXPECT_EQ(bind(torchrun, "2").threads, 2);
  EXPECT_EQ(bind(torchrun, "3,1").threads, 3);
  EXPECT_EQ(bind(torchrun, nullptr).threads, 4);
  EXPECT_EQ(bind(torchrun, "x").threads, 4);
  // One rank a machine, or another launcher: the variable is the user's.
  EXPECT_EQ(bind({{"TORCHELASTIC_RUN_ID", "none"}, {"LOCAL_WORLD_SIZE", "1"}}, "1").threads, 1);
  EXPECT_EQ(bind({{"LOCAL_WORLD_SIZE", "2"}}, "1").threads, 1);
}

TEST(Binding, LinesOfAJob) {
  const Machine machine("core:8 pu:1");
  std::vector<std::string> texts;
  for (int rank = 0; rank < 2; ++rank)
    texts.push_back(machine.bind(machine.all, machine.all, rank, 2).text);
  EXPECT_EQ(
      job_binding(texts),
      (std::vector<std::string>{"each of 2 ranks: 4 of 8 cores (cpus 0-3 | 4-7), 4 threads"}));
  EXPECT_EQ(job_binding({texts[0]}), std::vector{texts[0]});
  const std::vector<std::string> uneven = {machine.bind(machine.all, machine.all, 0, 3).text,
                                           machine.bind(machine.all, machine.all, 1, 3).text};
  EXPECT_EQ(job_binding(uneven), uneven);
}

TEST(Binding, ThreadsMustBePositive) {
  BindingOptions options;
  options.threads = 0;
  EXPECT_THROW(apply_binding(World{}, options), Error);
}

}  // namespace
}  // namespace terse
