// Rendezvous: the key-value store through which the ranks of a World find each other.
//
//   World world = resolve_world(current_environment());
//   c10::intrusive_ptr<c10d::Store> store = join(world, std::chrono::seconds(60));
//
// One rank: a store in memory. torchrun: its agent's store. mpirun without MASTER_*: rank 0 listens
// on a free port and tells the others over MPI. Otherwise rank 0 listens on the master's port. Keys
// live under the job's id and restart count, so that a restarted job never reads its predecessor's.
#pragma once
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <string>

#include "launch/world.h"

namespace terse {

// Collective. Returns when every rank has come; fills in what the launcher did not tell: local rank
// and size (by host name), node and nodes, the address that rank 0 picked. Error(deadline) names
// the ranks that did not come in time; Error(disagree) if ranks were started with different numbers
// of ranks, naming both; Error(usage) if the port is taken or the address unknown.
c10::intrusive_ptr<c10d::Store> join(World& world, std::chrono::milliseconds timeout);

std::string host_name();
// The address of this machine at which peers can reach it: the one on the way to the master (no
// packet is sent), or the first that is not the loopback when the job spans several machines.
std::string own_address(const World& world);

}  // namespace terse
