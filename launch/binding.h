// Binding: gives each rank of a machine its own share of the cores it may use.
//
// Two ranks with all threads each run ten times slower than with half of them, and mpirun binds a
// rank to one core unless told otherwise. So: the cores this process may use (widened to what the
// cgroup allows when the launcher's mask is narrower than a fair share), in topological order, are
// cut into local_size contiguous shares, whole cores first; a rank takes its share and one thread
// for each core. With more ranks than cores, shares overlap and a rank has one thread.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "launch/world.h"

struct hwloc_topology;

namespace terse {

enum class Bind { automatic, none };  // none: keep the launcher's mask, count its cores

struct BindingOptions {
  Bind bind = Bind::automatic;
  std::optional<int> threads;  // instead of one for each core of the share
};

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

// Binds all threads that this process starts from now on, and sets OpenMP's and ATen's number of
// threads. Call from the main thread after join(), before any parallel work. OMP_NUM_THREADS, when
// set and `options.threads` is not, gives the threads. Error(usage) if threads < 1.
Binding apply_binding(const World& world, const BindingOptions& options = {});

}  // namespace terse
