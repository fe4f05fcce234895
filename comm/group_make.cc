#include <algorithm>
#include <cstdlib>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "comm/group_gpu.h"
#include "comm/group_impl.h"
#include "comm/mpi_backend.h"
#include "comm/nccl_group.h"
#include "launch/rendezvous.h"

namespace terse {
namespace {

using StorePtr = c10::intrusive_ptr<c10d::Store>;
using BackendPtr = c10::intrusive_ptr<c10d::Backend>;

BackendKind choose(const World& world, const GroupOptions& options) {
  if (options.backend != BackendKind::automatic) return options.backend;
  if (options.cuda) return BackendKind::nccl;
  return world.under_mpirun ? BackendKind::mpi : BackendKind::gloo;
}

const char* name_of(BackendKind kind) {
  switch (kind) {
    case BackendKind::gloo:
      return "gloo";
    case BackendKind::mpi:
      return "mpi";
    case BackendKind::nccl:
      return "nccl";
    case BackendKind::automatic:
      break;
  }
  return "auto";
}

BackendPtr make_gloo(const StorePtr& store, int rank, int size, const std::string& address,
                     std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  options->devices.push_back(interface != nullptr
                                 ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                 : c10d::ProcessGroupGloo::createDeviceForHostname(address));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
}

BackendPtr make_mpi(const World& world) {
  if (!world.under_mpirun) {
    fail(ExitCode::usage, "the mpi backend needs mpirun (this job was started by {}); use gloo",
         launcher_name(world.launcher));
  }
  auto backend = MpiBackend::world();
  if (backend->getRank() != world.rank || backend->getSize() != world.size) {
    fail(ExitCode::usage, "MPI says rank {} of {}, the world says {} of {}", backend->getRank(),
         backend->getSize(), world.rank, world.size);
  }
  return backend;
}

BackendPtr make_backend(BackendKind kind, const World& world, const StorePtr& store,
                        std::chrono::milliseconds timeout) {
  if (kind == BackendKind::mpi) return make_mpi(world);
  if (kind == BackendKind::nccl) {
    return make_nccl_backend(store, world.rank, world.size, world.local_rank, timeout);
  }
  return make_gloo(store, world.rank, world.size, own_address(world), timeout);
}

std::shared_ptr<GroupConnection> make_connection(const World& world, const StorePtr& store,
                                                 const GroupOptions& options) {
  auto connection = std::make_shared<GroupConnection>();
  connection->options = options;
  connection->world_rank = world.rank;
  connection->address = own_address(world);
  connection->device = world.local_rank;
  connection->store = store;
  connection->heartbeat = std::make_unique<Heartbeat>(
      c10::make_intrusive<c10d::PrefixStore>("heart", store), world.rank, world.size,
      world.rank == 0 && !world.agent_store, !world.agent_store,
      std::min(options.heartbeat_limit, options.timeout));
  return connection;
}

// Connecting can fail because a rank died meanwhile: the heartbeat knows.
[[noreturn]] void connect_failed(GroupConnection& connection, const char* why) {
  const std::string line = std::string(why).substr(0, std::string(why).find('\n'));
  const auto failure = connection.heartbeat->diagnose(std::chrono::milliseconds(5'000));
  connection.fail_with(
      ExitCode::peer_lost,
      fmt::format("rank {} could not connect to its peers: {} ({})", connection.world_rank,
                  failure ? failure->text : "all live", line));
}

}  // namespace

BackendKind parse_backend(std::string_view name) {
  if (name == "auto") return BackendKind::automatic;
  for (const auto kind : {BackendKind::gloo, BackendKind::mpi, BackendKind::nccl}) {
    if (name == name_of(kind)) return kind;
  }
  fail(ExitCode::usage, "there is no backend '{}': auto, gloo, mpi or nccl", name);
}

Group make_group(const World& world, StorePtr store, const GroupOptions& options) {
  auto impl = std::make_shared<Group::Impl>();
  impl->timeout = options.timeout;
  impl->rank = world.rank;
  impl->size = world.size;
  impl->world_ranks.resize(static_cast<size_t>(world.size));
  for (int r = 0; r < world.size; ++r) impl->world_ranks[static_cast<size_t>(r)] = r;
  const BackendKind kind = choose(world, options);
  if (options.cuda || kind == BackendKind::nccl) {
    const std::string problem = gpu_problem(world, options.backend);
    if (!problem.empty())
      fail(ExitCode::usage, "rank {} cannot use a GPU: {}", world.rank, problem);
    if (!options.cuda)
      fail(ExitCode::usage, "the nccl backend moves GPU tensors only; use gloo or mpi on the CPU");
    impl->device = gpu_of(world);
    set_current_device(impl->device);
  }
  if (world.size == 1) return Group(impl);
  impl->connection = make_connection(world, store, options);
  impl->backend_name = name_of(kind);
  try {
    const auto own = c10::make_intrusive<c10d::PrefixStore>(impl->backend_name, store);
    impl->backend = make_backend(kind, world, own, options.timeout);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    connect_failed(*impl->connection, e.what());
  }
  return Group(impl);
}

Group Group::sub_group(std::span<const int> ranks, const std::string& name) const {
  auto sub = std::make_shared<Impl>();
  const auto mine = std::find(ranks.begin(), ranks.end(), rank());
  TERSE_CHECK(mine != ranks.end() && std::is_sorted(ranks.begin(), ranks.end()),
              "sub-group {}: ascending ranks, this one among them", name);
  sub->timeout = impl_->timeout;
  sub->device = impl_->device;
  sub->rank = static_cast<int>(mine - ranks.begin());
  sub->size = static_cast<int>(ranks.size());
  sub->name = name;
  sub->connection = impl_->connection;
  sub->parent = impl_;
  sub->world_ranks.clear();
  for (const int r : ranks)
    sub->world_ranks.push_back(impl_->world_ranks.at(static_cast<size_t>(r)));
  if (sub->size == 1) return Group(sub);
  GroupConnection& connection = *impl_->connection;
  connection.require_healthy();
  sub->backend_name = impl_->backend_name;
  try {
    const auto own = c10::make_intrusive<c10d::PrefixStore>("sub/" + name, connection.store);
    if (auto* mpi = dynamic_cast<MpiBackend*>(impl_->backend.get())) {
      sub->backend = mpi->sub_group(ranks);
    } else if (sub->backend_name == "nccl") {
      sub->backend = make_nccl_backend(own, sub->rank, sub->size, connection.device, sub->timeout);
    } else {
      sub->backend = make_gloo(own, sub->rank, sub->size, connection.address, sub->timeout);
    }
  } catch (const std::exception& e) {
    connect_failed(connection, e.what());
  }
  return Group(sub);
}

}  // namespace terse
