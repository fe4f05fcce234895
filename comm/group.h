// Group: the ranks that train together, and the collectives between them.
//
// A value handle (copies share one connection) on a LibTorch c10d::Backend: Gloo, our own MPI
// backend, or NCCL. Collectives are asynchronous and take contiguous tensors of any element type;
// they move bytes. Every rank must issue the same collectives in the same order.
//
//   Group group = make_group(world, store, {.timeout = std::chrono::seconds(60)});
//   Pending sent = group.all_to_all(out, in, "bucket 3");   // returns at once
//   ... other work ...
//   sent.wait();                                            // `out` is valid now
//
// Size 1: collectives copy locally and send 0 bytes.
//
// Deadlines and death. A wait ends at the latest `timeout` after its collective was issued:
//   Error(peer_lost)  a rank died, stopped responding, or left: the message names it;
//   Error(deadline)   all ranks live, but some did not come: the message names collective, tag and
//                     the ranks that are behind.
// A thread per process beats a key in the store twice a second (3 tiny requests), watches its
// neighbour's, and spreads the first failure to all ranks within a second. After an error the Group
// is unusable: every further call throws the same Error; destructors neither hang nor terminate.
// A rank that drops its last handle says goodbye first, and rank 0 waits for the others to do so
// when it hosts the store, so drop all handles before exit.
//
// Thread-safety: one thread at a time may issue collectives; wait() of different Pendings,
// wire_bytes() and dead_peers() may be called from any.
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "launch/world.h"

namespace terse {

// A collective under way. Keeps its tensors alive; dropping it without wait() is allowed.
class Pending {
 public:
  struct State;
  Pending() = default;  // already complete
  explicit Pending(std::shared_ptr<State> state) : state_(std::move(state)) {}
  // Blocks until outputs are valid. Idempotent after success; throws the same Error again after
  // one.
  void wait();
  bool done() const;  // wait() would return or throw at once

 private:
  std::shared_ptr<State> state_;
};

// Payload bytes that this rank sent to others, by kind. all_to_all: exact. all_gather(_v): own
// bytes x (N - 1). broadcast: the root counts bytes x (N - 1), others 0. all_reduce: a ring's
// volume, 2 bytes (N - 1) / N rounded down. reduce_scatter: as the all-to-all it is.
// point_to_point: sends.
struct WireBytes {
  int64_t all_to_all = 0;
  int64_t all_gather = 0;
  int64_t broadcast = 0;
  int64_t all_reduce = 0;
  int64_t reduce_scatter = 0;
  int64_t point_to_point = 0;
  int64_t total() const {
    return all_to_all + all_gather + broadcast + all_reduce + reduce_scatter + point_to_point;
  }
};

// `automatic`: NCCL for CUDA, MPI under mpirun, Gloo otherwise.
enum class BackendKind { automatic, gloo, mpi, nccl };
BackendKind parse_backend(std::string_view name);  // auto | gloo | mpi | nccl, or Error(usage)

struct GroupOptions {
  BackendKind backend = BackendKind::automatic;
  std::chrono::milliseconds timeout{60'000};
  // A rank whose heart stops for so long counts as lost, although its connections are open.
  std::chrono::milliseconds heartbeat_limit{10'000};
  bool cuda = false;  // tensors live on the GPU `world.local_rank`
};

class Group {
 public:
  Group() : Group(single()) {}
  static Group single();

  int rank() const;
  int size() const;
  const std::string& backend() const;  // "single", "gloo", "mpi" or "nccl"
  std::chrono::milliseconds timeout() const;

  // `tag` only appears in messages ("bucket 3"). Outputs may not overlap inputs.

  // Slice j of `in` goes to rank j; slice j of `out` comes from rank j. Equal slices: numel must be
  // a multiple of size().
  Pending all_to_all(at::Tensor out, at::Tensor in, std::string_view tag = {});
  // Slices of `out_sizes[j]` and `in_sizes[j]` elements, back to back; zeros are fine.
  Pending all_to_all(at::Tensor out, at::Tensor in, std::span<const int64_t> out_sizes,
                     std::span<const int64_t> in_sizes, std::string_view tag = {});
  // out = rank 0's `in`, rank 1's `in`, ...: the same size on every rank.
  Pending all_gather(at::Tensor out, at::Tensor in, std::string_view tag = {});
  // Rank j contributes sizes[j] elements; sizes are the same list on every rank.
  Pending all_gather_v(at::Tensor out, at::Tensor in, std::span<const int64_t> sizes,
                       std::string_view tag = {});
  Pending broadcast(at::Tensor tensor, int root, std::string_view tag = {});
  // Sum in place, fp32, by the backend's own algorithm: equal on all ranks, but the order of the
  // sum depends on backend, size and number of ranks.
  Pending all_reduce(at::Tensor tensor, std::string_view tag = {});
  // out = sum over ranks of slice rank() of `in`, fp32, added in rank order (deterministic).
  Pending reduce_scatter(at::Tensor out, at::Tensor in, std::string_view tag = {});
  // Matching sends and receives of one (peer, channel) pair keep their order. 0 <= channel < 1000.
  Pending send(at::Tensor tensor, int peer, int channel = 0);
  Pending recv(at::Tensor tensor, int peer, int channel = 0);
  void barrier(std::string_view tag = {});

  // Small values, blocking, on the CPU or (NCCL) through the GPU.
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> own,
                                                       std::string_view tag = {});
  std::string broadcast_text(const std::string& text, int root, std::string_view tag = {});
  template <typename T>
  std::vector<T> all_gather_value(const T& own, std::string_view tag = {}) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto parts = all_gather_fixed(std::as_bytes(std::span(&own, 1)), tag);
    std::vector<T> all(static_cast<size_t>(size()));
    std::memcpy(static_cast<void*>(all.data()), parts.data(), parts.size());
    return all;
  }

  // A group of some of these ranks (ascending, in this group's numbering). Every listed rank calls
  // with the same list and name; a name is used once. Shares deadline and heartbeat; what it sends
  // counts in this group's wire bytes as well.
  Group sub_group(std::span<const int> ranks, const std::string& name) const;

  WireBytes wire_bytes() const;  // since construction
  // Ranks (of the world) that are known to be lost; if none are, listens for at most `listen` to
  // find out. Used before trusting a SIGTERM: was it sent because somebody died?
  std::vector<int> dead_peers(
      std::chrono::milliseconds listen = std::chrono::milliseconds(0)) const;

  struct Impl;

 private:
  explicit Group(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  friend Group make_group(const World&, c10::intrusive_ptr<c10d::Store>, const GroupOptions&);
  std::vector<std::byte> all_gather_fixed(std::span<const std::byte> own, std::string_view tag);

  std::shared_ptr<Impl> impl_;
};

// Connects `world.size` ranks; collective. `store` comes from join() (launch/rendezvous.h).
// Error(usage) if the backend is not built or does not fit the launch.
Group make_group(const World& world, c10::intrusive_ptr<c10d::Store> store,
                 const GroupOptions& options = {});

}  // namespace terse
