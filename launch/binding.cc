#include "launch/binding.h"

#include <ATen/Parallel.h>
#include <fmt/ranges.h>
#include <hwloc.h>
#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <set>
#include <tuple>

#include "base/error.h"

namespace terse {
namespace {

struct Core {
  std::vector<int> cpus;  // its usable hardware threads
};

// The cores that hold any of `cpus`, in topological order.
std::vector<Core> cores_of(hwloc_topology_t topology, const std::set<int>& cpus) {
  std::vector<Core> cores;
  std::set<int> placed;
  const int count = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
  for (int i = 0; i < count; ++i) {
    const hwloc_obj_t object =
        hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, static_cast<unsigned>(i));
    Core core;
    for (const int cpu : cpus) {
      if (hwloc_bitmap_isset(object->cpuset, static_cast<unsigned>(cpu)) == 0) continue;
      core.cpus.push_back(cpu);
      placed.insert(cpu);
    }
    if (!core.cpus.empty()) cores.push_back(std::move(core));
  }
  // Some virtual machines describe no cores: every processor is one.
  for (const int cpu : cpus) {
    if (!placed.contains(cpu)) cores.push_back({{cpu}});
  }
  return cores;
}

// Consecutive numbers become ranges: "0-3,8".
std::string ranges(std::vector<int> numbers) {
  std::sort(numbers.begin(), numbers.end());
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t j = i;
    while (j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1) ++j;
    if (!text.empty()) text += ',';
    text += i == j ? fmt::format("{}", numbers[i]) : fmt::format("{}-{}", numbers[i], numbers[j]);
    i = j + 1;
  }
  return text;
}

// Share `index` of `count` equal contiguous shares; never empty while there are cores.
std::pair<size_t, size_t> share(size_t cores, int index, int count) {
  const auto n = static_cast<size_t>(count);
  const auto i = static_cast<size_t>(index);
  if (cores < n) return {i % cores, i % cores + 1};
  return {i * cores / n, (i + 1) * cores / n};
}

std::vector<int> current_mask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) cpus.push_back(i);
  }
  return cpus;
}

bool set_mask(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0;
}

std::vector<int> numbers_of(hwloc_const_cpuset_t set) {
  std::vector<int> cpus;
  for (int i = hwloc_bitmap_first(set); i >= 0; i = hwloc_bitmap_next(set, i)) cpus.push_back(i);
  return cpus;
}

using Topology = std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)>;

Topology load_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0 || hwloc_topology_load(raw) != 0) {
    fail(ExitCode::usage,
         "hwloc cannot read this machine's topology (HWLOC_XMLFILE or a container that hides "
         "/sys?)");
  }
  return {raw, &hwloc_topology_destroy};
}

}  // namespace

OmpSetting omp_setting(const Environment& environment) {
  const auto number = [&](std::string_view name) {
    const auto it = environment.find(name);
    int n = 0;
    if (it == environment.end()) return n;
    // "4,2": 4 outermost
    std::from_chars(it->second.data(), it->second.data() + it->second.size(), n);
    return n;
  };
  OmpSetting setting;
  const int n = number("OMP_NUM_THREADS");
  setting.by_torchrun =
      n == 1 && environment.contains("TORCHELASTIC_RUN_ID") && number("LOCAL_WORLD_SIZE") > 1;
  if (n > 0 && !setting.by_torchrun) setting.threads = n;
  return setting;
}

Binding plan_binding(hwloc_topology* topology, const std::vector<int>& mask,
                     const std::vector<int>& allowed, const World& world,
                     const BindingOptions& options) {
  const std::optional<int> chosen = options.threads ? options.threads : options.omp.threads;
  const std::set<int> narrow(mask.begin(), mask.end());
  const std::set<int> wide(allowed.begin(), allowed.end());
  const size_t all = cores_of(topology, wide).size();
  const size_t fair = std::max<size_t>(1, all / static_cast<size_t>(world.local_size));
  std::vector<Core> cores = cores_of(topology, narrow);
  const bool below = cores.size() < fair;
  const bool widened = (below && options.bound_by_mpirun) || cores.empty();
  // Exactly the fair share is this rank's own part already.
  const bool own_part = !widened && cores.size() < all &&
                        (cores.size() == fair || (below && world.launcher == Launcher::srun));
  if (widened) cores = cores_of(topology, wide);
  size_t begin = 0;
  size_t end = cores.size();
  if (options.bind == Bind::automatic && !own_part && !cores.empty()) {
    std::tie(begin, end) = share(cores.size(), world.local_rank, world.local_size);
  }
  Binding binding;
  for (size_t i = begin; i < end; ++i) {
    binding.cpus.insert(binding.cpus.end(), cores[i].cpus.begin(), cores[i].cpus.end());
  }
  std::sort(binding.cpus.begin(), binding.cpus.end());
  binding.cores = static_cast<int>(end - begin);
  binding.threads = chosen.value_or(std::max(1, binding.cores));
  binding.text = fmt::format(
      "rank {}: {} of {} cores (cpus {}), {} thread{}{}{}", world.rank, binding.cores, all,
      ranges(binding.cpus), binding.threads, binding.threads == 1 ? "" : "s",
      widened ? fmt::format(", widened from the launcher's cpus {}", ranges(mask)) : "",
      options.omp.by_torchrun && !chosen ? ", torchrun's OMP_NUM_THREADS=1 ignored" : "");
  return binding;
}

Binding intended_binding(const World& world, const BindingOptions& options) {
  if (options.threads && *options.threads < 1) {
    fail(ExitCode::usage, "threads = {}: at least 1", *options.threads);
  }
  BindingOptions resolved = options;
  resolved.omp = omp_setting(current_environment());
  resolved.bound_by_mpirun |= std::getenv(kBoundByMpirun) != nullptr;
  const Topology topology = load_topology();
  const auto mask = current_mask();
  if (options.bind == Bind::none) {
    World alone = world;
    alone.local_rank = 0;
    alone.local_size = 1;
    return plan_binding(topology.get(), mask, mask, alone, resolved);
  }
  const auto allowed = numbers_of(hwloc_topology_get_allowed_cpuset(topology.get()));
  return plan_binding(topology.get(), mask, allowed, world, resolved);
}

int allowed_cpus() {
  return hwloc_bitmap_weight(hwloc_topology_get_allowed_cpuset(load_topology().get()));
}

Binding apply_binding(const World& world, const BindingOptions& options) {
  Binding binding = intended_binding(world, options);
  if (options.bind == Bind::automatic) {
    binding.bound = set_mask(binding.cpus);
    if (!binding.bound) binding.text += ", not bound: the system refused";
  }
  at::set_num_threads(binding.threads);
  omp_set_num_threads(binding.threads);
  return binding;
}

std::vector<std::string> job_binding(const std::vector<std::string>& texts) {
  if (texts.size() < 2) return texts;
  std::vector<std::string> cpus;
  std::string before, after;  // the processors, on every rank
  for (const std::string& text : texts) {
    const size_t body = text.find(": ");
    const size_t list = text.find("(cpus ", body) + 6;
    const size_t close = text.find(')', list);
    TERSE_CHECK(close != std::string::npos, "'{}' is no binding", text);
    if (cpus.empty()) before = text.substr(body, list - body), after = text.substr(close);
    if (text.substr(body, list - body) != before || text.substr(close) != after) return texts;
    const std::string mine = text.substr(list, close - list);
    if (std::find(cpus.begin(), cpus.end(), mine) == cpus.end()) cpus.push_back(mine);
  }
  return {
      fmt::format("each of {} ranks{}{}{}", texts.size(), before, fmt::join(cpus, " | "), after)};
}

}  // namespace terse
