// World: which rank this process is, who its peers are and how it was started.
//
// `resolve_world` is a pure function of environment variables and flags. The first source that is
// complete wins, in this order (the innermost launcher first):
//
//   flags        --rank --world-size [--local-rank --local-world-size --master-addr --master-port]
//   torchrun     RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT TORCHELASTIC_*
//   environment  RANK WORLD_SIZE MASTER_ADDR MASTER_PORT, set by hand or by another launcher
//   openmpi      OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE
//   srun         SLURM_PROCID SLURM_NTASKS SLURM_LOCALID SLURM_NODEID SLURM_JOB_NODELIST, in a step
//                (a batch script's own shell is no step: ENVIRONMENT=BATCH without SLURM_STEP_ID)
//   single       nothing of these: one rank
//
// Slurm's variables are only hints as soon as RANK or OMPI_COMM_WORLD_RANK exist: `srun torchrun`
// and mpirun inside a batch job always carry them. Flags that contradict the environment, and RANK
// or WORLD_SIZE that contradict Open MPI's, are an Error(usage) that names both; so is a source
// that is half there, not a number, or out of range. A variable that is set to nothing counts as
// not set.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace terse {

using Environment = std::map<std::string, std::string, std::less<>>;
Environment current_environment();

// What the command line may say.
struct WorldFlags {
  std::optional<int> rank;
  std::optional<int> world_size;
  std::optional<int> local_rank;
  std::optional<int> local_world_size;
  std::optional<std::string> master_addr;
  std::optional<int> master_port;
};

enum class Launcher { single, flags, torchrun, environment, openmpi, srun };
std::string_view launcher_name(Launcher launcher);

struct World {
  Launcher launcher = Launcher::single;
  int rank = 0;
  int size = 1;
  // Position among the ranks of this machine. When the launcher does not tell (`local_known` false)
  // join() finds out by host name.
  int local_rank = 0;
  int local_size = 1;
  bool local_known = true;
  int node = 0;
  int nodes = 1;
  bool node_known = true;      // false: join() finds out by host name
  int restart = 0;             // how often the launcher has restarted the job
  std::string job = "terse";   // separates the keys of jobs that share a store
  std::string master_address;  // empty: rank 0 picks (Open MPI, single)
  int master_port = 0;
  bool agent_store = false;   // torchrun's agent hosts the store: rank 0 connects as well
  bool under_mpirun = false;  // MPI can be initialised with these ranks

  // For each value that is known, where it came from: {"rank", "RANK"}, {"master_port",
  // "SLURM_JOB_ID"}, {"restart", "default"}, ...
  std::map<std::string, std::string> origin;
};

// Error(usage) as described above.
World resolve_world(const Environment& environment, const WorldFlags& flags = {});

// "node[01-03,7],gpu1" -> node01 node02 node03 node7 gpu1. Error(usage) if malformed or longer than
// 100,000 names.
std::vector<std::string> expand_host_list(std::string_view list);

}  // namespace terse
