// Binding: gives each rank of a machine its own share of the cores it may use.
//
// Two ranks with all threads each run ten times slower than with half of them, and mpirun binds a
// rank to one core unless told otherwise. So: the cores of this process's mask, in topological
// order, are cut into local_size contiguous shares, whole cores first; a rank takes its share and
// one thread for each core. With more ranks than cores, shares overlap and a rank has one thread. A
// mask below the fair share is widened to what the cgroup allows if mpirun set it at launch; set by
// anybody else (taskset, scripts/cluster) it is a wish, and srun's is one rank's part already.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "launch/world.h"

struct hwloc_topology;

namespace terse {

enum class Bind { automatic, none };  // none: keep the launcher's mask, count its cores

// The command line's --bind: "auto" or "none".
inline Bind parse_bind(const std::string& name) {
  return name == "none" ? Bind::none : Bind::automatic;
}

// What OMP_NUM_THREADS says. torchrun sets it to 1 itself when it starts several ranks on a machine
// and finds it unset: nobody's wish, and not to be told from a user's own 1, for which there is
// --threads.
struct OmpSetting {
  std::optional<int> threads;
  bool by_torchrun = false;  // it was that 1: `threads` is empty
};
OmpSetting omp_setting(const Environment& environment);

struct BindingOptions {
  Bind bind = Bind::automatic;
  std::optional<int> threads{};  // instead of one for each core of the share
  OmpSetting omp{};              // where `threads` says nothing
  bool bound_by_mpirun = false;  // the mask is Open MPI's doing: kBoundByMpirun is set
};

// The variable by which Open MPI 4 tells a rank that it was bound at launch.
inline constexpr const char* kBoundByMpirun = "OMPI_MCA_orte_bound_at_launch";

struct Binding {
  std::vector<int> cpus;  // logical processors, as the operating system numbers them
  int cores = 0;          // physical cores among them
  int threads = 1;        // for OpenMP and at::parallel_for
  bool bound = false;     // the mask was set
  std::string text;       // one line: "rank 1: cores 4-7 of 8 (cpus 4-7), 4 threads"
};

// Pure: what rank `world.local_rank` gets on `topology`. `mask`: cpus of the launcher's mask;
// `allowed`: cpus of the cgroup. Used by apply_binding and, with synthetic topologies, by tests.
Binding plan_binding(hwloc_topology* topology, const std::vector<int>& mask,
                     const std::vector<int>& allowed, const World& world,
                     const BindingOptions& options);

// What apply_binding() would do to this process; changes nothing. Error(usage) if threads < 1, or
// hwloc cannot read the machine.
Binding intended_binding(const World& world, const BindingOptions& options = {});
int allowed_cpus();  // hardware threads that the cgroup allows; the same Error

// Binds all threads that this process starts from now on, and sets OpenMP's and ATen's number of
// threads. Call from the main thread after join(), before any parallel work. `options.omp` is read
// from the environment; kBoundByMpirun there sets `options.bound_by_mpirun`. Error(usage) if
// threads < 1.
Binding apply_binding(const World& world, const BindingOptions& options = {});

// All ranks' Binding::text, in rank order, as lines to print: one where they say the same of
// different processors ("each of 2 ranks: 4 of 8 cores (cpus 0-3 | 4-7), 4 threads"), else one a
// rank.
std::vector<std::string> job_binding(const std::vector<std::string>& texts);

}  // namespace terse
