// What every backend must do, run by group_test.cc under every launcher and number of ranks:
//   comm_group_ranks conformance gloo|mpi|auto|nccl
//   comm_group_ranks die | sleep | stop | leave | throw [BACKEND]      (rank 1 misbehaves)
//   comm_group_ranks silent      (rank 1 dies while nothing is exchanged)
//   comm_group_ranks wait BACKEND      (rank 1 comes a second late)
// Values are integers small enough for fp32 to add exactly, so results compare exactly.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <numeric>

#include "base/error.h"
#include "comm/group.h"
#include "comm/group_gpu.h"
#include "comm/mpi_backend.h"
#include "launch/rendezvous.h"
#include "tests/comm/group/ranks.h"

namespace terse {
namespace {

constexpr int64_t kSizes[] = {0, 1, 2, 3, 7, 64, 65, 1000, 100'003};

void expect_equal(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  expect(at::equal(a, b), what);
}

// Where the tensors are; nccl moves those of GPUs.
at::Device device = at::kCPU;

at::Tensor zeros(int64_t n) {
  return at::zeros({n}, at::device(device).dtype(at::kFloat));
}

at::Tensor full(int64_t n, double value, at::ScalarType type = at::kFloat) {
  return at::full({n}, value, at::device(device).dtype(type));
}

// What rank `from` says to rank `to` (or to all): distinct, integer, below 2^20.
at::Tensor message(int from, int to, int64_t n, at::ScalarType type = at::kFloat) {
  const auto i = at::arange(n, at::kLong);
  return ((i * 7 + from * 131 + to * 17) % 1009).to(type).to(device);
}

class Conformance {
 public:
  explicit Conformance(Group group) : group_(std::move(group)), n_(group_.size()) {}

  void run() {
    for (const int64_t size : kSizes) {
      for (const auto type : {at::kFloat, at::kByte, at::kBFloat16, at::kLong}) {
        all_to_all(size, type);
        all_gather(size, type);
      }
      uneven(size);
      broadcast(size);
      all_reduce(size);
      reduce_scatter(size);
      messages(size);
    }
    values();
    many_at_once();
    group_.barrier("end");
  }

 private:
  int rank() const { return group_.rank(); }
  int64_t others() const { return n_ - 1; }

  // The counter's change since the last call must be exactly `want`.
  void expect_bytes(int64_t now, int64_t& before, int64_t want, const char* what) {
    expect(now - before == want,
           fmt::format("{} counted {} bytes, not {}", what, now - before, want));
    before = now;
  }

  void all_to_all(int64_t size, at::ScalarType type) {
    std::vector<at::Tensor> in;
    std::vector<at::Tensor> want;
    for (int r = 0; r < n_; ++r) {
      in.push_back(message(rank(), r, size, type));
      want.push_back(message(r, rank(), size, type));
    }
    at::Tensor out = full(size * n_, 1, type);
    group_.all_to_all(out, at::cat(in)).wait();
    expect_equal(out, at::cat(want), fmt::format("all_to_all of {}", size));
    expect_bytes(group_.wire_bytes().all_to_all, all_to_all_, size * others() * out.element_size(),
                 "all_to_all");
  }

  // Slice sizes differ for every pair, and some are empty.
  static int64_t slice(int from, int to, int64_t size) {
    return (from + 2 * to) % 3 == 0 ? 0 : size / (1 + from) + to;
  }

  void uneven(int64_t size) {
    std::vector<at::Tensor> in;
    std::vector<at::Tensor> want;
    std::vector<int64_t> in_sizes;
    std::vector<int64_t> out_sizes;
    for (int r = 0; r < n_; ++r) {
      in_sizes.push_back(slice(rank(), r, size));
      out_sizes.push_back(slice(r, rank(), size));
      in.push_back(message(rank(), r, in_sizes.back()));
      want.push_back(message(r, rank(), out_sizes.back()));
    }
    at::Tensor out = zeros(std::accumulate(out_sizes.begin(), out_sizes.end(), int64_t{0}));
    const at::Tensor sent = at::cat(in);
    group_.all_to_all(out, sent, out_sizes, in_sizes, "uneven").wait();
    expect_equal(out, at::cat(want), fmt::format("uneven all_to_all of {}", size));
    const int64_t own = in_sizes[static_cast<size_t>(rank())];
    expect_bytes(group_.wire_bytes().all_to_all, all_to_all_, 4 * (sent.numel() - own), "uneven");

    std::vector<int64_t> sizes;
    std::vector<at::Tensor> all;
    for (int r = 0; r < n_; ++r) {
      sizes.push_back(slice(r, 1, size));
      all.push_back(message(r, 0, sizes.back()));
    }
    const at::Tensor mine = message(rank(), 0, sizes[static_cast<size_t>(rank())]);
    out = zeros(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}));
    group_.all_gather_v(out, mine, sizes, "uneven").wait();
    expect_equal(out, at::cat(all), fmt::format("all_gather_v of {}", size));
    expect_bytes(group_.wire_bytes().all_gather, all_gather_, 4 * mine.numel() * others(),
                 "gather");
  }

  void all_gather(int64_t size, at::ScalarType type) {
    std::vector<at::Tensor> want;
    for (int r = 0; r < n_; ++r) want.push_back(message(r, 0, size, type));
    at::Tensor out = full(size * n_, 1, type);
    group_.all_gather(out, message(rank(), 0, size, type)).wait();
    expect_equal(out, at::cat(want), fmt::format("all_gather of {}", size));
    expect_bytes(group_.wire_bytes().all_gather, all_gather_, size * others() * out.element_size(),
                 "all_gather");
  }

  void broadcast(int64_t size) {
    for (int root = 0; root < n_; ++root) {
      at::Tensor tensor = message(rank(), 5, size);
      group_.broadcast(tensor, root).wait();
      expect_equal(tensor, message(root, 5, size), fmt::format("broadcast of {}", size));
      expect_bytes(group_.wire_bytes().broadcast, broadcast_,
                   rank() == root ? 4 * size * others() : 0, "broadcast");
    }
  }

  void all_reduce(int64_t size) {
    at::Tensor tensor = message(rank(), 0, size);
    at::Tensor want = zeros(size);
    for (int r = 0; r < n_; ++r) want += message(r, 0, size);
    group_.all_reduce(tensor).wait();
    expect_equal(tensor, want, fmt::format("all_reduce of {}", size));
    expect_bytes(group_.wire_bytes().all_reduce, all_reduce_, 2 * 4 * size * others() / n_,
                 "all_reduce");
  }

  void reduce_scatter(int64_t size) {
    std::vector<at::Tensor> in;
    for (int r = 0; r < n_; ++r) in.push_back(message(rank(), r, size));
    at::Tensor want = zeros(size);
    for (int r = 0; r < n_; ++r) want += message(r, rank(), size);
    at::Tensor out = zeros(size);
    group_.reduce_scatter(out, at::cat(in)).wait();
    expect_equal(out, want, fmt::format("reduce_scatter of {}", size));
    expect_bytes(group_.wire_bytes().reduce_scatter, reduce_scatter_, 4 * size * others(),
                 "reduce_scatter");
  }

  // Two messages on one channel keep their order; a ring, so that everybody sends and receives.
  void messages(int64_t size) {
    // NCCL's ranks may not all begin with send().
    if (n_ == 1 || group_.backend() == "nccl") return;
    const int next = (rank() + 1) % n_;
    const int previous = (rank() + n_ - 1) % n_;
    at::Tensor first = at::empty({size});
    at::Tensor second = at::empty({size});
    std::vector<Pending> all;
    all.push_back(group_.send(message(rank(), next, size), next, 3));
    all.push_back(group_.send(message(rank(), 99, size), next, 3));
    all.push_back(group_.recv(first, previous, 3));
    all.push_back(group_.recv(second, previous, 3));
    for (auto& pending : all) pending.wait();
    expect_equal(first, message(previous, rank(), size), "first message");
    expect_equal(second, message(previous, 99, size), "second message");
    expect_bytes(group_.wire_bytes().point_to_point, point_to_point_, 8 * size, "messages");
  }

  void values() {
    struct Pod {
      int64_t a;
      double b;
    };
    const auto pods = group_.all_gather_value(Pod{rank() * 10, rank() + 0.5});
    const std::string mine(static_cast<size_t>(rank()) * 3, static_cast<char>('a' + rank()));
    const auto texts = group_.all_gather_bytes(std::as_bytes(std::span(mine)));
    for (int r = 0; r < n_; ++r) {
      const auto i = static_cast<size_t>(r);
      expect(pods[i].a == r * 10 && pods[i].b == r + 0.5, "all_gather_value");
      expect(texts[i].size() == i * 3, "all_gather_bytes");
      for (const std::byte b : texts[i]) {
        expect(static_cast<char>(b) == static_cast<char>('a' + r), "all_gather_bytes");
      }
    }
    const std::string text = rank() == n_ - 1 ? "the plan" : "";
    expect(group_.broadcast_text(text, n_ - 1) == "the plan", "broadcast_text");
    expect(group_.broadcast_text("", 0).empty(), "broadcast_text of nothing");
  }

  // Several under way, waited for in another order.
  void many_at_once() {
    std::vector<Pending> pending;
    std::vector<at::Tensor> sums;
    for (int64_t i = 0; i < 8; ++i) {
      sums.push_back(full(1000 + i, static_cast<double>(rank() + i)));
      pending.push_back(group_.all_reduce(sums.back(), "bucket"));
    }
    for (int64_t i = 7; i >= 0; --i) {
      pending[static_cast<size_t>(i)].wait();
      const double want = static_cast<double>(n_ * (n_ - 1)) / 2 + static_cast<double>(n_ * i);
      expect(at::equal(sums[static_cast<size_t>(i)], full(1000 + i, want)), "several at once");
    }
  }

  Group group_;
  int n_;
  int64_t all_to_all_ = 0, all_gather_ = 0, broadcast_ = 0, all_reduce_ = 0, reduce_scatter_ = 0,
          point_to_point_ = 0;
};

// Rank pairs, every other rank (with a gap between any two, and other numbers than in the whole
// group for all but rank 0), and all but the last: overlapping sub-groups, used one after the
// other.
void check_sub_groups(const Group& group) {
  const int pair = group.rank() / 2 * 2;
  std::vector<int> ranks = {pair};
  if (pair + 1 < group.size()) ranks.push_back(pair + 1);
  Conformance(group.sub_group(ranks, fmt::format("pair{}", pair))).run();
  if (group.size() == 2) return;
  std::vector<int> apart;
  for (int r = group.rank() % 2; r < group.size(); r += 2) apart.push_back(r);
  Conformance(group.sub_group(apart, fmt::format("apart{}", apart[0]))).run();
  if (group.rank() < group.size() - 1) {
    std::vector<int> most(static_cast<size_t>(group.size() - 1));
    std::iota(most.begin(), most.end(), 0);
    Conformance(group.sub_group(most, "most")).run();
  }
}

// MPI counts are 32-bit: the same results when every message is cut into pieces of 1,000 bytes.
void check_pieces(const Group& group) {
  auto backend = MpiBackend::world(1000);
  const int n = group.size();
  at::Tensor in = message(group.rank(), 0, 1003);
  at::Tensor out = at::empty({1003 * n});
  backend->_allgather_base(out, in, {})->wait();
  at::Tensor spread = at::empty({1003 * n});
  std::vector<int64_t> even;
  backend->alltoall_base(spread, out, even, even, {})->wait();
  std::vector<at::Tensor> sum = {in.clone()};
  std::vector<at::Tensor> copy = {in.clone()};
  backend->allreduce(sum, {})->wait();
  backend->broadcast(copy, {})->wait();
  at::Tensor total = at::zeros({1003});
  for (int r = 0; r < n; ++r) {
    expect_equal(out.slice(0, r * 1003, (r + 1) * 1003), message(r, 0, 1003), "gather in pieces");
    expect_equal(spread.slice(0, r * 1003, (r + 1) * 1003), message(group.rank(), 0, 1003),
                 "all-to-all in pieces");
    total += message(r, 0, 1003);
  }
  expect_equal(sum[0], total, "sum in pieces");
  expect_equal(copy[0], message(0, 0, 1003), "broadcast in pieces");
}

void conformance(const World& world, const c10::intrusive_ptr<c10d::Store>& store,
                 const std::string& backend) {
  GroupOptions options{.backend = parse_backend(backend)};
  options.cuda = options.backend == BackendKind::nccl;
  if (options.cuda) device = gpu_of(world);
  Group group = make_group(world, store, options);
  expect(group.rank() == world.rank && group.size() == world.size, "rank and size");
  Conformance(group).run();
  check_sub_groups(group);
  if (group.backend() == "mpi") check_pieces(group);
  expect(group.dead_peers().empty(), "nobody died");
}

int run(const std::string& what, const std::string& backend) {
  try {
    at::set_num_threads(1);
    World world = resolve_world(current_environment());
    auto store = join(world, std::chrono::seconds(30));
    if (what == "conformance") {
      conformance(world, store, backend);
    } else if (what == "silent") {
      silent(world, store);
    } else if (what == "wait") {
      wait_for_late_rank(world, store, backend);
    } else {
      misbehave(world, store, what, backend);
    }
  } catch (const Error& e) {
    std::printf("Error %d: %s\n", static_cast<int>(e.code()), e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    std::printf("exception: %s\n", e.what());
    return 1;
  }
  std::printf("fine\n");
  return 0;
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) {
  return terse::run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "auto");
}
