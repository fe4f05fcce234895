#include "comm/group.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "comm/group_impl.h"
#include "comm/mpi_backend.h"
#include "launch/mpi_runtime.h"

namespace terse {
namespace {

// Collectives move bytes, so every element type works on every backend.
at::Tensor flat_bytes(const at::Tensor& tensor) {
  TERSE_CHECK(tensor.is_contiguous(), "collectives take contiguous tensors");
  return tensor.reshape({-1}).view(at::kByte);
}

std::vector<int64_t> scaled(std::span<const int64_t> sizes, int64_t by) {
  std::vector<int64_t> out(sizes.begin(), sizes.end());
  for (auto& size : out) size *= by;
  return out;
}

int64_t sum(std::span<const int64_t> values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

int64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

at::Tensor byte_tensor(std::span<const std::byte> bytes, at::Device device) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor.to(device);
}

// As NCCL's destructor would, which warns that nobody had asked for it.
void shut_down(c10d::Backend& nccl) {
  try {
    nccl.shutdown();
  } catch (const std::exception&) {  // a peer is gone already; nothing of ours is under way
  }
}

std::span<const std::byte> view(const at::Tensor& cpu) {
  return {static_cast<const std::byte*>(cpu.data_ptr()), static_cast<size_t>(cpu.nbytes())};
}

}  // namespace

void GroupConnection::require_healthy() {
  std::lock_guard lock(mutex);
  if (error) throw *error;
}

void GroupConnection::fail_with(ExitCode code, const std::string& text) {
  mpi::abandon();
  std::lock_guard lock(mutex);
  if (!error) error.emplace(code, text);
  throw *error;
}

Group::Impl::~Impl() {
  if (!backend) return;
  const bool unwinding = std::uncaught_exceptions() > exceptions;
  if (unwinding && name.empty()) {
    mpi::abandon();
    connection->heartbeat->publish(
        {{connection->world_rank},
         false,
         fmt::format("rank {} ended because of an error of its own", connection->world_rank)});
  }
  if (!unwinding && !connection->heartbeat->failure() && !connection->error) {
    if (backend_name == "nccl") shut_down(*backend);
    return;
  }
  // A broken transport's destructor would wait for operations that never end. It and its threads
  // stay until the process ends.
  if (backend_name == "gloo") {
    static_cast<void>(backend.release());
  } else {
    backend->abort();
  }
}

Pending Group::Impl::issue(const char* op, std::string_view tag, std::vector<at::Tensor> keep,
                           const std::function<WorkPtr()>& start, std::function<void()> finish) {
  connection->require_healthy();
  auto state = std::make_shared<Pending::State>();
  state->group = shared_from_this();
  state->what = tag.empty() ? std::string(op) : fmt::format("{} '{}'", op, tag);
  if (!name.empty()) state->what += fmt::format(" of group {}", name);
  state->sequence = ++sequence;
  state->keep = std::move(keep);
  state->finish = std::move(finish);
  state->deadline = std::chrono::steady_clock::now() + timeout;
  // A sub-group's ranks count differently, so only the world's collectives are compared.
  if (name.empty()) connection->heartbeat->at(state->sequence, state->what);
  try {
    state->work = start();
  } catch (const std::exception& e) {
    state->broken(e.what());
  }
  return Pending(std::move(state));
}

Pending Group::Impl::issue_message(const char* op, int peer, const at::Tensor& tensor,
                                   const std::function<WorkPtr()>& start) {
  connection->require_healthy();
  auto state = std::make_shared<Pending::State>();
  state->group = shared_from_this();
  state->what = fmt::format("{} with rank {}", op, peer);
  state->sequence = sequence;
  state->keep = {tensor};
  state->whole_wait = backend_name == "gloo";
  state->deadline = std::chrono::steady_clock::now() + timeout;
  try {
    state->work = start();
  } catch (const std::exception& e) {
    state->broken(e.what());
  }
  return Pending(std::move(state));
}

Group Group::single() {
  return Group(std::make_shared<Impl>());
}

int Group::rank() const {
  return impl_->rank;
}
int Group::size() const {
  return impl_->size;
}
const std::string& Group::backend() const {
  return impl_->backend_name;
}
std::chrono::milliseconds Group::timeout() const {
  return impl_->timeout;
}

Pending Group::all_to_all(at::Tensor out, at::Tensor in, std::string_view tag) {
  const int64_t n = size();
  TERSE_CHECK(in.numel() % n == 0 && out.numel() == in.numel(), "{} elements over {} ranks",
              in.numel(), n);
  const std::vector<int64_t> even(static_cast<size_t>(n), in.numel() / n);
  return all_to_all(std::move(out), std::move(in), even, even, tag);
}

Pending Group::all_to_all(at::Tensor out, at::Tensor in, std::span<const int64_t> out_sizes,
                          std::span<const int64_t> in_sizes, std::string_view tag) {
  TERSE_CHECK(sum(out_sizes) == out.numel() && sum(in_sizes) == in.numel(),
              "slices do not add up to the tensors");
  if (size() == 1) {
    out.view({-1}).copy_(in.view({-1}));
    return {};
  }
  const auto own = static_cast<size_t>(rank());
  impl_->count(Impl::kAllToAll, bytes_of(in) - in_sizes[own] * in.element_size());
  return impl_->exchange("all_to_all", tag, out, in, out_sizes, in_sizes);
}

Pending Group::all_gather(at::Tensor out, at::Tensor in, std::string_view tag) {
  const std::vector<int64_t> even(static_cast<size_t>(size()), in.numel());
  TERSE_CHECK(out.numel() == in.numel() * size(), "all_gather's output has {} elements",
              out.numel());
  if (size() > 1 && impl_->backend_name != "mpi" && in.numel() > 0) {
    impl_->count(Impl::kAllGather, bytes_of(in) * (size() - 1));
    at::Tensor to = flat_bytes(out);
    at::Tensor from = flat_bytes(in);
    return impl_->issue("all_gather", tag, {out, in},
                        [&] { return impl_->backend->_allgather_base(to, from); });
  }
  return all_gather_v(std::move(out), std::move(in), even, tag);
}

Pending Group::all_gather_v(at::Tensor out, at::Tensor in, std::span<const int64_t> sizes,
                            std::string_view tag) {
  TERSE_CHECK(sum(sizes) == out.numel() && sizes[static_cast<size_t>(rank())] == in.numel(),
              "slices do not add up to the tensors");
  if (size() == 1) {
    out.view({-1}).copy_(in.view({-1}));
    return {};
  }
  if (out.numel() == 0) return {};
  impl_->count(Impl::kAllGather, bytes_of(in) * (size() - 1));
  if (auto* mpi = dynamic_cast<MpiBackend*>(impl_->backend.get())) {
    const auto bytes = scaled(sizes, in.element_size());
    return impl_->issue("all_gather_v", tag, {out, in},
                        [&] { return mpi->all_gather_v(flat_bytes(out), flat_bytes(in), bytes); });
  }
  // Gloo and NCCL gather equal sizes only: every rank gets a copy of `in` by all-to-all.
  const std::vector<int64_t> own(static_cast<size_t>(size()), in.numel());
  return impl_->exchange("all_gather_v", tag, out, impl_->copies(in), sizes, own);
}

at::Tensor Group::Impl::copies(const at::Tensor& in) {
  if (!in.is_cpu()) return in.reshape({-1}).repeat({size});
  const int64_t bytes = bytes_of(in) * size;
  const auto fits = [bytes](const at::Tensor& room) {
    return room.numel() >= bytes && room.storage().use_count() == 1;  // nobody else holds it
  };
  auto room = std::find_if(rooms.begin(), rooms.end(), fits);
  if (room == rooms.end()) {
    const auto capacity = std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(bytes, 1)));
    room = rooms.insert(rooms.end(), at::empty({static_cast<int64_t>(capacity)}, at::kByte));
  }
  at::Tensor all = room->narrow(0, 0, bytes).view(in.scalar_type());
  all.view({size, in.numel()}).copy_(in.reshape({1, -1}).expand({size, in.numel()}));
  return all;
}

Pending Group::Impl::exchange(const char* op, std::string_view tag, const at::Tensor& out,
                              const at::Tensor& in, std::span<const int64_t> out_sizes,
                              std::span<const int64_t> in_sizes, std::function<void()> finish) {
  at::Tensor to = flat_bytes(out);
  at::Tensor from = flat_bytes(in);
  auto receive = scaled(out_sizes, out.element_size());
  auto send = scaled(in_sizes, in.element_size());
  return issue(
      op, tag, {out, in}, [&] { return backend->alltoall_base(to, from, receive, send); },
      std::move(finish));
}

Pending Group::broadcast(at::Tensor tensor, int root, std::string_view tag) {
  TERSE_CHECK(root >= 0 && root < size(), "root {} of {}", root, size());
  if (size() == 1 || tensor.numel() == 0) return {};
  if (rank() == root) impl_->count(Impl::kBroadcast, bytes_of(tensor) * (size() - 1));
  std::vector<at::Tensor> tensors = {flat_bytes(tensor)};
  c10d::BroadcastOptions options;
  options.rootRank = root;
  return impl_->issue("broadcast", tag, {tensor},
                      [&] { return impl_->backend->broadcast(tensors, options); });
}

Pending Group::all_reduce(at::Tensor tensor, std::string_view tag) {
  TERSE_CHECK(tensor.scalar_type() == at::kFloat && tensor.is_contiguous(),
              "all_reduce sums contiguous fp32");
  if (size() == 1 || tensor.numel() == 0) return {};
  impl_->count(Impl::kAllReduce, 2 * bytes_of(tensor) * (size() - 1) / size());
  std::vector<at::Tensor> tensors = {tensor.view({-1})};
  return impl_->issue("all_reduce", tag, {tensor},
                      [&] { return impl_->backend->allreduce(tensors, {}); });
}

Pending Group::reduce_scatter(at::Tensor out, at::Tensor in, std::string_view tag) {
  const int64_t n = size();
  TERSE_CHECK(in.scalar_type() == at::kFloat && in.numel() == out.numel() * n,
              "reduce_scatter: {} elements into {}", in.numel(), out.numel());
  if (n == 1) {
    out.view({-1}).copy_(in.view({-1}));
    return {};
  }
  impl_->count(Impl::kReduceScatter, bytes_of(in) - bytes_of(out));
  const std::vector<int64_t> even(static_cast<size_t>(n), out.numel());
  at::Tensor parts = at::empty({n, out.numel()}, in.options());
  auto add = [parts, out, n]() mutable {
    at::Tensor total = out.view({-1}).copy_(parts[0]);
    for (int64_t r = 1; r < n; ++r) total.add_(parts[r]);
  };
  return impl_->exchange("reduce_scatter", tag, parts, in, even, even, add);
}

Pending Group::send(at::Tensor tensor, int peer, int channel) {
  TERSE_CHECK(peer >= 0 && peer < size() && peer != rank(), "send to rank {}", peer);
  impl_->count(Impl::kPointToPoint, bytes_of(tensor));
  std::vector<at::Tensor> tensors = {flat_bytes(tensor)};
  return impl_->issue_message("send", peer, tensor,
                              [&] { return impl_->backend->send(tensors, peer, channel); });
}

Pending Group::recv(at::Tensor tensor, int peer, int channel) {
  TERSE_CHECK(peer >= 0 && peer < size() && peer != rank(), "recv from rank {}", peer);
  std::vector<at::Tensor> tensors = {flat_bytes(tensor)};
  return impl_->issue_message("recv", peer, tensor,
                              [&] { return impl_->backend->recv(tensors, peer, channel); });
}

void Group::barrier(std::string_view tag) {
  if (size() == 1) return;
  impl_->issue("barrier", tag, {}, [&] { return impl_->backend->barrier(); }).wait();
}

std::vector<std::byte> Group::all_gather_fixed(std::span<const std::byte> own,
                                               std::string_view tag) {
  const at::Tensor in = byte_tensor(own, impl_->device);
  at::Tensor out = at::empty({in.numel() * size()}, in.options());
  all_gather(out, in, tag).wait();
  out = out.cpu();
  return {view(out).begin(), view(out).end()};
}

std::vector<std::vector<std::byte>> Group::all_gather_bytes(std::span<const std::byte> own,
                                                            std::string_view tag) {
  const auto lengths = all_gather_value<int64_t>(static_cast<int64_t>(own.size()), tag);
  at::Tensor out = at::empty({sum(lengths)}, at::TensorOptions(at::kByte).device(impl_->device));
  all_gather_v(out, byte_tensor(own, impl_->device), lengths, tag).wait();
  out = out.cpu();
  std::vector<std::vector<std::byte>> parts;
  size_t at = 0;
  for (const int64_t length : lengths) {
    const auto part = view(out).subspan(at, static_cast<size_t>(length));
    parts.emplace_back(part.begin(), part.end());
    at += static_cast<size_t>(length);
  }
  return parts;
}

std::string Group::broadcast_text(const std::string& text, int root, std::string_view tag) {
  at::Tensor length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong).to(impl_->device);
  broadcast(length, root, tag).wait();
  const auto n = length.cpu().item<int64_t>();
  at::Tensor bytes = rank() == root
                         ? byte_tensor(std::as_bytes(std::span(text)), impl_->device)
                         : at::empty({n}, at::TensorOptions(at::kByte).device(impl_->device));
  broadcast(bytes, root, tag).wait();
  bytes = bytes.cpu();
  return {static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(n)};
}

WireBytes Group::wire_bytes() const {
  const auto& s = impl_->sent;
  return {s[Impl::kAllToAll],  s[Impl::kAllGather],     s[Impl::kBroadcast],
          s[Impl::kAllReduce], s[Impl::kReduceScatter], s[Impl::kPointToPoint]};
}

std::vector<int> Group::dead_peers(std::chrono::milliseconds listen) const {
  if (!impl_->connection || !impl_->connection->heartbeat) return {};
  Heartbeat& heartbeat = *impl_->connection->heartbeat;
  if (const auto known = heartbeat.failure()) return known->lost;
  return heartbeat.silent_ranks(listen);
}

}  // namespace terse
