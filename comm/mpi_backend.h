// A c10d backend on MPI, which LibTorch's wheels lack.
//
// Open MPI 4.1 has no progress thread: a non-blocking operation moves only while somebody calls
// MPI_Test. One thread per backend issues operations in the order in which they were enqueued and
// polls them, spinning for a few microseconds and then sleeping 20 to 200 us between polls, so that
// it leaves the cores to the compute threads. Communicators are duplicates; errors return through
// Work::wait().
//
// All-to-all and all-gather are pairwise messages. They are cut into pieces: of at most `largest`
// bytes, because MPI counts are 32-bit, and of at most kEager to ranks on other hosts. A larger
// message would ask its receiver for leave first, and the receiver's answer would queue on the same
// connection behind what it is sending itself: both directions take turns, and half of the link
// stays idle (100 Mbit/s, 1 MiB each way at once, three under way: 64 Mbit/s, in pieces 91).
//
// Tensors are contiguous, on the CPU. Reductions: sum of fp32. Thread-safety: operations may be
// enqueued from one thread at a time.
#pragma once
#define OMPI_SKIP_MPICXX 1  // the C++ bindings of old need a library of their own
#include <mpi.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

namespace terse {

class MpiWork;

// What goes to and comes from each rank, in bytes.
struct Routes {
  std::vector<int64_t> send_at, send, receive_at, receive;
};

class MpiBackend final : public c10d::Backend {
 public:
  static constexpr int64_t kLargest = int64_t{1} << 30;
  // Sent without asking: Open MPI's btl_tcp_eager_limit is 64 KiB, its own header included.
  static constexpr int64_t kEager = 60 * 1024;

  // All ranks of MPI_COMM_WORLD; initialises MPI. Collective.
  static c10::intrusive_ptr<MpiBackend> world(int64_t largest = kLargest);
  // Some ranks of this backend, ascending; called by exactly these.
  c10::intrusive_ptr<MpiBackend> sub_group(std::span<const int> ranks) const;

  MpiBackend(MPI_Comm communicator, int rank, int size, int64_t largest);
  // Drains what is under way, unless aborted.
  ~MpiBackend() override;

  const std::string getBackendName() const override { return "mpi"; }
  // Fails everything under way and gives MPI up for this process (no MPI_Finalize).
  void abort() override;

  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override;
  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options) override;
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& output, at::Tensor& input,
                                                 const c10d::AllgatherOptions& options) override;
  // Rank j contributes sizes[j] elements.
  c10::intrusive_ptr<c10d::Work> all_gather_v(const at::Tensor& output, const at::Tensor& input,
                                              std::span<const int64_t> sizes);
  c10::intrusive_ptr<c10d::Work> alltoall_base(at::Tensor& output, at::Tensor& input,
                                               std::vector<int64_t>& output_sizes,
                                               std::vector<int64_t>& input_sizes,
                                               const c10d::AllToAllOptions& options) override;
  c10::intrusive_ptr<c10d::Work> send(std::vector<at::Tensor>& tensors, int peer, int tag) override;
  c10::intrusive_ptr<c10d::Work> recv(std::vector<at::Tensor>& tensors, int peer, int tag) override;
  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions& options) override;

 private:
  using WorkPtr = c10::intrusive_ptr<MpiWork>;
  WorkPtr enqueue(WorkPtr work);
  int next_tag();
  void run();
  void start(const WorkPtr& work);
  bool poll();  // true if something completed
  void fail_all(const char* why);
  int64_t piece(int peer) const { return pieces_[static_cast<size_t>(peer)]; }
  // Sends and receives of one pairwise operation.
  void exchange(MpiWork& work, const Routes& routes, char* out, const char* in, int tag) const;

  MPI_Comm communicator_;  // collectives, and the pairwise messages of all-to-all
  MPI_Comm messages_;      // send and recv
  const int64_t largest_;
  std::vector<int64_t> pieces_;  // most bytes of one message to each rank
  int64_t sequence_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<WorkPtr> queue_;
  bool stop_ = false;
  bool aborted_ = false;
  std::vector<WorkPtr> under_way_;  // of the thread alone
  std::thread thread_;
};

}  // namespace terse
