#include "launch/world.h"

#include <unistd.h>

#include <charconv>
#include <cstdint>

#include "base/error.h"

namespace terse {
namespace {

// One number of the World and the variable or flag that gave it.
struct Value {
  int number = 0;
  std::string from;
};
using MaybeValue = std::optional<Value>;

// What one source says; empty where it is silent.
struct Source {
  Launcher launcher = Launcher::single;
  MaybeValue rank, size, local_rank, local_size, node, nodes, restart, port;
  std::optional<std::string> address, job;
  std::string address_from, job_from;
};

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  std::optional<std::string> text(std::string_view name) const {
    const auto it = environment_.find(name);
    if (it == environment_.end() || it->second.empty()) return std::nullopt;
    return it->second;
  }
  bool has(std::string_view name) const { return text(name).has_value(); }

  MaybeValue number(std::string_view name) const {
    const auto value = text(name);
    if (!value) return std::nullopt;
    int n = 0;
    const char* end = value->data() + value->size();
    const auto [stop, error] = std::from_chars(value->data(), end, n);
    if (error != std::errc{} || stop != end) {
      fail(ExitCode::usage, "{}={} is not a whole number; unset it or set it right", name, *value);
    }
    return Value{n, std::string(name)};
  }
  MaybeValue first_number(std::initializer_list<std::string_view> names) const {
    for (const auto name : names) {
      if (const auto value = number(name)) return value;
    }
    return std::nullopt;
  }

 private:
  const Environment& environment_;
};

void read_master(const Variables& env, Source& source) {
  source.address = env.text("MASTER_ADDR");
  source.address_from = "MASTER_ADDR";
  source.port = env.number("MASTER_PORT");
}

Source rank_source(const Variables& env) {
  Source s;
  s.launcher = env.has("TORCHELASTIC_RUN_ID") ? Launcher::torchrun : Launcher::environment;
  s.rank = env.number("RANK");
  s.size = env.number("WORLD_SIZE");
  s.local_rank = env.number("LOCAL_RANK");
  s.local_size = env.number("LOCAL_WORLD_SIZE");
  s.node = env.number("GROUP_RANK");
  s.nodes = env.number("GROUP_WORLD_SIZE");
  s.restart = env.number("TORCHELASTIC_RESTART_COUNT");
  s.job = env.text("TORCHELASTIC_RUN_ID");
  s.job_from = "TORCHELASTIC_RUN_ID";
  read_master(env, s);
  return s;
}

Source openmpi_source(const Variables& env) {
  Source s;
  s.launcher = Launcher::openmpi;
  s.rank = env.number("OMPI_COMM_WORLD_RANK");
  s.size = env.number("OMPI_COMM_WORLD_SIZE");
  s.local_rank = env.number("OMPI_COMM_WORLD_LOCAL_RANK");
  s.local_size = env.number("OMPI_COMM_WORLD_LOCAL_SIZE");
  s.job = env.text("PMIX_NAMESPACE");
  s.job_from = "PMIX_NAMESPACE";
  read_master(env, s);
  return s;
}

// SLURM_TASKS_PER_NODE is "4(x3),2"; this node's entry says how many ranks live here.
MaybeValue slurm_local_size(const Variables& env, int node) {
  const auto list = env.text("SLURM_STEP_TASKS_PER_NODE");
  const auto tasks = list ? list : env.text("SLURM_TASKS_PER_NODE");
  if (!tasks) return std::nullopt;
  int seen = 0;
  const char* at = tasks->data();
  const char* end = at + tasks->size();
  while (at < end) {
    int count = 0;
    int times = 1;
    auto parsed = std::from_chars(at, end, count);
    if (parsed.ec == std::errc{} && end - parsed.ptr > 2 &&
        std::string_view(parsed.ptr, 2) == "(x") {
      parsed = std::from_chars(parsed.ptr + 2, end, times);
      if (parsed.ptr < end) ++parsed.ptr;
    }
    if (parsed.ec != std::errc{} || count < 1 || times < 1) {
      fail(ExitCode::usage, "SLURM_TASKS_PER_NODE={} is malformed", *tasks);
    }
    seen += times;
    if (node < seen) return Value{count, "SLURM_TASKS_PER_NODE"};
    at = parsed.ptr + (parsed.ptr < end ? 1 : 0);
  }
  return std::nullopt;
}

// Below Linux's ephemeral ports, and different for jobs and steps that run at the same time.
int slurm_port(int job, int step) {
  return 20'000 + static_cast<int>((int64_t{job} + step) % 12'000);
}

Source srun_source(const Variables& env) {
  Source s;
  s.launcher = Launcher::srun;
  s.rank = env.number("SLURM_PROCID");
  s.size = env.first_number({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"});
  s.local_rank = env.number("SLURM_LOCALID");
  s.node = env.number("SLURM_NODEID");
  s.nodes = env.first_number({"SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES"});
  s.restart = env.number("SLURM_RESTART_COUNT");
  s.local_size = slurm_local_size(env, s.node ? s.node->number : 0);
  read_master(env, s);
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"}) {
    if (s.address || !env.has(name)) continue;
    s.address = expand_host_list(*env.text(name)).front();
    s.address_from = name;
  }
  const auto job = env.first_number({"SLURM_JOB_ID", "SLURM_JOBID"});
  const auto step = env.first_number({"SLURM_STEP_ID", "SLURM_STEPID"});
  if (job) {
    s.job = fmt::format("slurm-{}.{}", job->number, step ? step->number : 0);
    s.job_from = job->from;
    if (!s.port) s.port = Value{slurm_port(job->number, step ? step->number : 0), job->from};
  }
  return s;
}

bool in_slurm_step(const Variables& env) {
  if (!env.has("SLURM_PROCID")) return false;
  const bool step = env.has("SLURM_STEP_ID") || env.has("SLURM_STEPID");
  return step || env.text("ENVIRONMENT") != "BATCH";
}

// `a` and `b` must agree where both speak.
void require_agreement(const char* what, const MaybeValue& a, const MaybeValue& b) {
  if (!a || !b || a->number == b->number) return;
  fail(
      ExitCode::usage,
      "two launchers disagree on {}: {} says {}, {} says {}; unset one, or start with one launcher",
      what, a->from, a->number, b->from, b->number);
}

Source environment_source(const Variables& env) {
  const bool mpi = env.has("OMPI_COMM_WORLD_RANK") || env.has("OMPI_COMM_WORLD_SIZE");
  if (env.has("RANK") || env.has("WORLD_SIZE")) {
    Source s = rank_source(env);
    if (mpi) {
      const Source ompi = openmpi_source(env);
      require_agreement("the rank", s.rank, ompi.rank);
      require_agreement("the number of ranks", s.size, ompi.size);
      if (!s.local_rank) s.local_rank = ompi.local_rank;
      if (!s.local_size) s.local_size = ompi.local_size;
    }
    return s;
  }
  if (mpi) return openmpi_source(env);
  if (in_slurm_step(env)) return srun_source(env);
  Source s;
  read_master(env, s);
  return s;
}

void merge_flag(const char* flag, const std::optional<int>& given, MaybeValue& value) {
  if (!given) return;
  const Value mine{*given, flag};
  require_agreement(flag + 2, mine, value);
  value = mine;
}

void merge_flags(const WorldFlags& flags, Source& source) {
  if (flags.rank && flags.world_size) source.launcher = Launcher::flags;
  merge_flag("--rank", flags.rank, source.rank);
  merge_flag("--world-size", flags.world_size, source.size);
  merge_flag("--local-rank", flags.local_rank, source.local_rank);
  merge_flag("--local-world-size", flags.local_world_size, source.local_size);
  merge_flag("--master-port", flags.master_port, source.port);
  if (!flags.master_addr) return;
  if (source.address && *source.address != *flags.master_addr) {
    fail(ExitCode::usage, "--master-addr says {}, {} says {}; remove one", *flags.master_addr,
         source.address_from, *source.address);
  }
  source.address = flags.master_addr;
  source.address_from = "--master-addr";
}

void require_range(const char* what, const MaybeValue& value, int low, int high) {
  if (!value || (value->number >= low && value->number <= high)) return;
  fail(ExitCode::usage, "{} from {} is {}, but must lie between {} and {}", what, value->from,
       value->number, low, high);
}

void check(const Source& s) {
  if (s.rank.has_value() != s.size.has_value()) {
    const Value& there = s.rank ? *s.rank : *s.size;
    fail(ExitCode::usage,
         "{} is set ({}) but the {} is not: set both (RANK and WORLD_SIZE, or "
         "--rank and --world-size) or none",
         there.from, there.number, s.rank ? "number of ranks" : "rank");
  }
  constexpr int kMany = 1 << 20;
  require_range("the number of ranks", s.size, 1, kMany);
  const int size = s.size ? s.size->number : 1;
  require_range("the rank", s.rank, 0, size - 1);
  require_range("the number of ranks on this machine", s.local_size, 1, size);
  require_range("the local rank", s.local_rank, 0,
                s.local_size ? s.local_size->number - 1 : size - 1);
  require_range("the number of machines", s.nodes, 1, kMany);
  require_range("the machine's number", s.node, 0, s.nodes ? s.nodes->number - 1 : size - 1);
  require_range("the restart count", s.restart, 0, kMany);
  require_range("the master port", s.port, 1, 65'535);
}

bool is_loopback(const std::string& address) {
  return address == "localhost" || address == "::1" || address.starts_with("127.");
}

void adopt(World& world, const char* what, const MaybeValue& from, int& to) {
  if (!from) return;
  to = from->number;
  world.origin[what] = from->from;
}

void adopt_place(const Source& s, World& world) {
  world.local_known = world.size == 1 || (s.local_rank && s.local_size);
  if (world.size == 1) world.origin["local_rank"] = world.origin["local_size"] = "one rank";
  adopt(world, "local_rank", s.local_rank, world.local_rank);
  adopt(world, "local_size", s.local_size, world.local_size);
  if (!world.local_known && is_loopback(world.master_address)) {
    world.local_rank = world.rank;
    world.local_size = world.size;
    world.local_known = true;
    world.origin["local_rank"] = world.origin["local_size"] = "the master address is this machine";
  }
  adopt(world, "node", s.node, world.node);
  adopt(world, "nodes", s.nodes, world.nodes);
  if (!s.nodes && world.local_known) {
    world.nodes = (world.size + world.local_size - 1) / world.local_size;
    world.origin["nodes"] = "ranks over ranks per machine";
  }
  world.node_known = s.node || (world.local_known && world.nodes == 1);
  if (world.node_known) world.origin.try_emplace("node", "there is one machine");
}

void require_master(const World& world) {
  const bool picks = world.size == 1 || world.under_mpirun;
  if (world.master_address.empty() != (world.master_port == 0) ||
      (world.master_address.empty() && !picks)) {
    if (picks && world.size == 1) return;
    fail(ExitCode::usage,
         "rank {} of {} (from {}) does not know where to meet the others: set "
         "MASTER_ADDR and MASTER_PORT, or --master-addr and --master-port",
         world.rank, world.size, world.origin.at("rank"));
  }
}

}  // namespace

Environment current_environment() {
  Environment all;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry = *e;
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    all.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return all;
}

std::string_view launcher_name(Launcher launcher) {
  constexpr std::string_view names[] = {"single",      "flags",   "torchrun",
                                        "environment", "openmpi", "srun"};
  return names[static_cast<size_t>(launcher)];
}

World resolve_world(const Environment& environment, const WorldFlags& flags) {
  const Variables env(environment);
  Source s = environment_source(env);
  merge_flags(flags, s);
  check(s);
  World world;
  world.launcher = s.launcher;
  world.under_mpirun = env.has("OMPI_COMM_WORLD_RANK");
  world.origin["rank"] = world.origin["size"] = "no launcher: one process";
  world.origin["restart"] = world.origin["job"] = "default";
  adopt(world, "rank", s.rank, world.rank);
  adopt(world, "size", s.size, world.size);
  adopt(world, "restart", s.restart, world.restart);
  adopt(world, "master_port", s.port, world.master_port);
  if (s.address) {
    world.master_address = *s.address;
    world.origin["master_address"] = s.address_from;
  }
  if (s.job) {
    world.job = *s.job;
    world.origin["job"] = s.job_from;
  }
  world.agent_store = env.text("TORCHELASTIC_USE_AGENT_STORE") == "True" && env.has("RANK");
  adopt_place(s, world);
  require_master(world);
  return world;
}

}  // namespace terse
