// Internal to group*.cc: what a Group and a Pending share.
#pragma once
#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "base/error.h"
#include "comm/group.h"
#include "comm/heartbeat.h"

namespace terse {

// One per make_group, shared with its sub-groups.
struct GroupConnection {
  GroupOptions options;
  int world_rank = 0;
  std::string address;  // this machine's, for Gloo
  int device = 0;       // this rank's GPU, for NCCL
  c10::intrusive_ptr<c10d::Store> store;
  std::unique_ptr<Heartbeat> heartbeat;

  std::mutex mutex;
  std::optional<Error> error;  // the first; everything after it throws the same

  void require_healthy();
  // Remembers and throws.
  [[noreturn]] void fail_with(ExitCode code, const std::string& text);
};

struct Group::Impl : std::enable_shared_from_this<Group::Impl> {
  enum Kind {
    kAllToAll,
    kAllGather,
    kBroadcast,
    kAllReduce,
    kReduceScatter,
    kPointToPoint,
    kKinds
  };

  int rank = 0;
  int size = 1;
  std::string backend_name = "single";
  std::string name;  // empty: the whole world
  std::chrono::milliseconds timeout{60'000};
  std::vector<int> world_ranks = {0};
  at::Device device = at::kCPU;  // where small values travel
  std::shared_ptr<GroupConnection> connection;
  std::shared_ptr<Impl> parent;               // of a sub-group
  c10::intrusive_ptr<c10d::Backend> backend;  // null at size 1
  std::atomic<int64_t> sequence{0};
  std::array<std::atomic<int64_t>, kKinds> sent{};
  std::vector<at::Tensor> rooms;  // of copies()
  int exceptions = std::uncaught_exceptions();

  ~Impl();

  using WorkPtr = c10::intrusive_ptr<c10d::Work>;
  // Issues one collective and wraps it. `keep`: tensors that must outlive it.
  Pending issue(const char* op, std::string_view tag, std::vector<at::Tensor> keep,
                const std::function<WorkPtr()>& start, std::function<void()> finish = {});
  // An all-to-all of slices, whatever it is called.
  Pending exchange(const char* op, std::string_view tag, const at::Tensor& out,
                   const at::Tensor& in, std::span<const int64_t> out_sizes,
                   std::span<const int64_t> in_sizes, std::function<void()> finish = {});
  // `in` once for each rank, back to back. On the CPU in memory that was used before, if any is
  // free: a fresh block of a bucket's size costs its page faults.
  at::Tensor copies(const at::Tensor& in);
  Pending issue_message(const char* op, int peer, const at::Tensor& tensor,
                        const std::function<WorkPtr()>& start);
  void count(Kind kind, int64_t bytes) {
    sent[kind] += bytes;
    if (parent) parent->count(kind, bytes);
  }
};

struct Pending::State {
  std::shared_ptr<Group::Impl> group;
  Group::Impl::WorkPtr work;
  std::vector<at::Tensor> keep;
  std::function<void()> finish;  // local work after the transfer
  std::string what;              // "all_gather 'bucket 3'"
  int64_t sequence = 0;
  bool whole_wait = false;  // Gloo's send and recv break their connection when a wait is cut short
  std::chrono::steady_clock::time_point deadline;
  bool complete = false;

  void wait();
  void wait_for_work();
  [[noreturn]] void late();
  [[noreturn]] void broken(const std::string& why);
  [[noreturn]] void lost(const Failure& failure);
};

}  // namespace terse
