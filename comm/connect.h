// Connect: from environment and flags to a Group, for every program that runs on several ranks.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "comm/group.h"
#include "launch/binding.h"
#include "launch/world.h"

namespace terse {

struct ConnectOptions {
  WorldFlags flags{};
  std::string backend = "auto";  // auto | gloo | mpi | nccl
  double timeout_s = 60;         // of the rendezvous and of every collective
  int64_t threads = 0;           // of this rank; 0 = the cores it is bound to
  Bind bind = Bind::automatic;
  // Where this job computes: "cpu", "cuda", or "auto": on GPUs if every rank has one of its own
  // (comm/group_gpu.h), else on CPUs.
  std::string device = "cpu";
};

struct Connection {
  World world;
  Binding binding;
  Group group;
  at::Device device = at::kCPU;  // this rank's; if a GPU, the current one of the calling thread
  bool leader() const { return group.rank() == 0; }
};

// Collective. Resolves the World, meets the others, agrees on the kind of device, binds to cores,
// sets the number of threads.
Connection connect(const ConnectOptions& options);

// From every rank's reason why it cannot use a GPU (empty: it can) to whether all do.
// Error(usage) that names the ranks if `device` is "cuda" and some cannot.
bool choose_gpus(const std::string& device, const std::vector<std::string>& problems);

// Runs `work` on rank 0 while the others wait without a deadline of their own, however long it
// takes: rank 0 sends a sign of life every second. Every rank gets the text that `work` returned,
// or its Error.
std::string on_leader(Group group, const std::function<std::string()>& work);

// Collective. Every rank's text, in rank order.
std::vector<std::string> all_gather_text(Group group, const std::string& own,
                                         std::string_view tag = {});

// Error(disagree) that names the ranks whose `value` differs from rank 0's. `what`: "recipe", ...
void require_same(Group group, uint64_t value, const std::string& what);

}  // namespace terse
