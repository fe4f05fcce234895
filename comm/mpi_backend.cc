#include "comm/mpi_backend.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "base/thread_slice.h"
#include "launch/mpi_runtime.h"

namespace terse {

// One operation: the thread calls `start`, which fills `requests`, then tests them.
class MpiWork final : public c10d::Work {
 public:
  MpiWork(int rank, c10d::OpType type, std::vector<at::Tensor> tensors)
      : Work(rank, type),
        tensors_(std::move(tensors)),
        future_(c10::make_intrusive<at::ivalue::Future>(
            c10::ListType::create(c10::TensorType::get()))) {}

  void done(const std::exception_ptr& error) {
    finish(error);
    if (error) {
      future_->setError(error);
    } else {
      future_->markCompleted(at::IValue(tensors_));
    }
  }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override { return future_; }
  std::vector<at::Tensor> result() override { return tensors_; }

  std::function<void(MpiWork&)> start;
  std::vector<MPI_Request> requests;

 private:
  std::vector<at::Tensor> tensors_;  // alive until MPI is through with them
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

namespace {

using Clock = std::chrono::steady_clock;

// Between two polls. Waking costs the core that computes about 30 us here (timer, two switches,
// what they leave in the caches), so polls become rarer the longer an operation takes: it ends an
// eighth later at most. A millisecond of the fastest TCP still fits the kernel's buffers.
std::chrono::nanoseconds nap(Clock::duration quiet) {
  using namespace std::chrono_literals;
  return std::clamp<std::chrono::nanoseconds>(quiet / 8, 20us, 1ms);
}

void require(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw std::runtime_error(fmt::format("{}: {}", what, text));
}

char* bytes(const at::Tensor& tensor) {
  return static_cast<char*>(tensor.data_ptr());
}

MPI_Request& next_request(MpiWork& work) {
  return work.requests.emplace_back(MPI_REQUEST_NULL);
}

// Calls f(offset, count) for pieces of at most `largest`.
template <typename F>
void for_pieces(int64_t size, int64_t largest, F f) {
  for (int64_t at = 0; at < size; at += largest) {
    f(at, static_cast<int>(std::min(largest, size - at)));
  }
}

void send_pieces(MpiWork& work, const char* data, int64_t size, int64_t largest, int peer, int tag,
                 MPI_Comm comm) {
  for_pieces(size, largest, [&](int64_t at, int count) {
    require(MPI_Isend(data + at, count, MPI_BYTE, peer, tag, comm, &next_request(work)),
            "MPI_Isend");
  });
}

void receive_pieces(MpiWork& work, char* data, int64_t size, int64_t largest, int peer, int tag,
                    MPI_Comm comm) {
  for_pieces(size, largest, [&](int64_t at, int count) {
    require(MPI_Irecv(data + at, count, MPI_BYTE, peer, tag, comm, &next_request(work)),
            "MPI_Irecv");
  });
}

std::vector<int64_t> starts(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> at(sizes.size(), 0);
  for (size_t i = 1; i < sizes.size(); ++i) at[i] = at[i - 1] + sizes[i - 1];
  return at;
}

// Most bytes of one message to each rank of `comm`. Both ends of a pair find the same.
std::vector<int64_t> pieces_by_rank(MPI_Comm comm, int size, int64_t largest) {
  MPI_Comm host = MPI_COMM_NULL;
  MPI_Group near = MPI_GROUP_NULL;
  MPI_Group all = MPI_GROUP_NULL;
  require(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
          "MPI_Comm_split_type");
  require(MPI_Comm_group(host, &near), "MPI_Comm_group");
  require(MPI_Comm_group(comm, &all), "MPI_Comm_group");
  int neighbours = 0;
  MPI_Group_size(near, &neighbours);
  std::vector<int> from(static_cast<size_t>(neighbours));
  std::iota(from.begin(), from.end(), 0);
  std::vector<int> ranks(from.size());
  require(MPI_Group_translate_ranks(near, neighbours, from.data(), all, ranks.data()),
          "MPI_Group_translate_ranks");
  std::vector<int64_t> pieces(static_cast<size_t>(size), std::min(largest, MpiBackend::kEager));
  for (const int rank : ranks) pieces[static_cast<size_t>(rank)] = largest;
  MPI_Group_free(&all);
  MPI_Group_free(&near);
  MPI_Comm_free(&host);
  return pieces;
}

}  // namespace

c10::intrusive_ptr<MpiBackend> MpiBackend::world(int64_t largest) {
  mpi::initialize();
  return c10::make_intrusive<MpiBackend>(MPI_COMM_WORLD, mpi::world_rank(), mpi::world_size(),
                                         largest);
}

c10::intrusive_ptr<MpiBackend> MpiBackend::sub_group(std::span<const int> ranks) const {
  MPI_Group all = MPI_GROUP_NULL;
  MPI_Group some = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  require(MPI_Comm_group(communicator_, &all), "MPI_Comm_group");
  require(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &some),
          "MPI_Group_incl");
  require(MPI_Comm_create_group(communicator_, some, 0, &comm), "MPI_Comm_create_group");
  MPI_Group_free(&some);
  MPI_Group_free(&all);
  int rank = 0;
  require(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  return c10::make_intrusive<MpiBackend>(comm, rank, static_cast<int>(ranks.size()), largest_);
}

MpiBackend::MpiBackend(MPI_Comm communicator, int rank, int size, int64_t largest)
    : Backend(rank, size), largest_(largest) {
  require(MPI_Comm_dup(communicator, &communicator_), "MPI_Comm_dup");
  require(MPI_Comm_dup(communicator, &messages_), "MPI_Comm_dup");
  pieces_ = pieces_by_rank(communicator_, size, largest);
  MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(messages_, MPI_ERRORS_RETURN);
  init();
  thread_ = std::thread([this] { run(); });
}

MpiBackend::~MpiBackend() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  // MPI_Comm_free is collective and could hang on a rank that left; MPI_Finalize frees both.
}

void MpiBackend::abort() {
  {
    std::lock_guard lock(mutex_);
    aborted_ = true;
  }
  mpi::abandon();
  wake_.notify_all();
}

MpiBackend::WorkPtr MpiBackend::enqueue(WorkPtr work) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(work);
  }
  wake_.notify_all();
  return work;
}

// Collectives are issued in the same order everywhere, so counting them gives equal tags; MPI
// guarantees at least 32,767.
int MpiBackend::next_tag() {
  return static_cast<int>(sequence_++ % 32'000);
}

void MpiBackend::run() {
  // On a core that backward keeps busy each poll would wait for the end of backward's slice, and a
  // collective takes several.
  ask_for_slice(std::chrono::microseconds(100));
  int idle = 0;
  Clock::time_point quiet_since = Clock::now();
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock,
               [this] { return stop_ || aborted_ || !queue_.empty() || !under_way_.empty(); });
    if (aborted_) break;
    if (stop_ && queue_.empty() && under_way_.empty()) return;
    std::deque<WorkPtr> fresh;
    fresh.swap(queue_);
    lock.unlock();
    for (const auto& work : fresh) start(work);
    idle = poll() || !fresh.empty() ? 0 : idle + 1;
    if (idle == 0)
      quiet_since = Clock::now();
    else if (idle <= 50)
      std::this_thread::yield();  // a small message between two cores takes a few microseconds
    else
      std::this_thread::sleep_for(nap(Clock::now() - quiet_since));
    lock.lock();
  }
  lock.unlock();
  fail_all("the group was aborted");
}

void MpiBackend::start(const WorkPtr& work) {
  try {
    work->start(*work);
    under_way_.push_back(work);
  } catch (const std::exception&) {
    work->done(std::current_exception());
  }
}

bool MpiBackend::poll() {
  const size_t before = under_way_.size();
  std::erase_if(under_way_, [](const WorkPtr& work) {
    int complete = 0;
    try {
      require(MPI_Testall(static_cast<int>(work->requests.size()), work->requests.data(), &complete,
                          MPI_STATUSES_IGNORE),
              "MPI_Testall");
      if (complete != 0) work->done(nullptr);
    } catch (const std::exception&) {
      work->done(std::current_exception());
      complete = 1;
    }
    return complete != 0;
  });
  return under_way_.size() != before;
}

void MpiBackend::fail_all(const char* why) {
  // MPI may still write into these buffers and cannot be told to stop: they live for ever.
  static auto& immortal = *new std::vector<WorkPtr>;
  const auto error = std::make_exception_ptr(std::runtime_error(why));
  std::lock_guard lock(mutex_);
  for (auto& work : queue_) work->done(error);
  for (auto& work : under_way_) {
    work->done(error);
    immortal.push_back(work);
  }
  queue_.clear();
  under_way_.clear();
}

// Both ends of a pair know its size, so they cut it alike.
void MpiBackend::exchange(MpiWork& work, const Routes& routes, char* out, const char* in,
                          int tag) const {
  const int size = getSize();
  for (int step = 1; step < size; ++step) {
    const int from = (getRank() - step + size) % size;
    const auto k = static_cast<size_t>(from);
    receive_pieces(work, out + routes.receive_at[k], routes.receive[k], piece(from), from, tag,
                   communicator_);
  }
  for (int step = 1; step < size; ++step) {
    const int to = (getRank() + step) % size;
    const auto k = static_cast<size_t>(to);
    send_pieces(work, in + routes.send_at[k], routes.send[k], piece(to), to, tag, communicator_);
  }
  const auto self = static_cast<size_t>(getRank());
  if (routes.send[self] > 0) {
    std::memcpy(out + routes.receive_at[self], in + routes.send_at[self],
                static_cast<size_t>(routes.send[self]));
  }
}

c10::intrusive_ptr<c10d::Work> MpiBackend::broadcast(std::vector<at::Tensor>& tensors,
                                                     const c10d::BroadcastOptions& options) {
  const at::Tensor& tensor = tensors.at(0);
  auto work = c10::make_intrusive<MpiWork>(getRank(), c10d::OpType::BROADCAST, tensors);
  work->start = [this, data = bytes(tensor), size = static_cast<int64_t>(tensor.nbytes()),
                 root = static_cast<int>(options.rootRank)](MpiWork& w) {
    for_pieces(size, largest_, [&](int64_t at, int count) {
      require(MPI_Ibcast(data + at, count, MPI_BYTE, root, communicator_, &next_request(w)),
              "MPI_Ibcast");
    });
  };
  return enqueue(work);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::allreduce(std::vector<at::Tensor>& tensors,
                                                     const c10d::AllreduceOptions& options) {
  const at::Tensor& tensor = tensors.at(0);
  TERSE_CHECK(tensor.scalar_type() == at::kFloat && options.reduceOp == c10d::ReduceOp::SUM,
              "the MPI backend sums fp32");
  auto work = c10::make_intrusive<MpiWork>(getRank(), c10d::OpType::ALLREDUCE, tensors);
  work->start = [this, data = tensor.data_ptr<float>(), n = tensor.numel()](MpiWork& w) {
    const int64_t largest = std::max<int64_t>(1, largest_ / 4);
    for_pieces(n, largest, [&](int64_t at, int count) {
      require(MPI_Iallreduce(MPI_IN_PLACE, data + at, count, MPI_FLOAT, MPI_SUM, communicator_,
                             &next_request(w)),
              "MPI_Iallreduce");
    });
  };
  return enqueue(work);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::_allgather_base(at::Tensor& output, at::Tensor& input,
                                                           const c10d::AllgatherOptions&) {
  const std::vector<int64_t> sizes(static_cast<size_t>(getSize()), input.numel());
  return all_gather_v(output, input, sizes);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::all_gather_v(const at::Tensor& output,
                                                        const at::Tensor& input,
                                                        std::span<const int64_t> sizes) {
  auto work = c10::make_intrusive<MpiWork>(getRank(), c10d::OpType::ALLGATHER,
                                           std::vector<at::Tensor>{output, input});
  Routes routes;
  for (const int64_t size : sizes) routes.receive.push_back(size * input.element_size());
  routes.receive_at = starts(routes.receive);
  const auto own = static_cast<int64_t>(input.nbytes());
  routes.send.assign(sizes.size(), own);
  routes.send_at.assign(sizes.size(), 0);
  work->start = [this, routes = std::move(routes), out = bytes(output), in = bytes(input),
                 tag = next_tag()](MpiWork& w) { exchange(w, routes, out, in, tag); };
  return enqueue(work);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::alltoall_base(at::Tensor& output, at::Tensor& input,
                                                         std::vector<int64_t>& output_sizes,
                                                         std::vector<int64_t>& input_sizes,
                                                         const c10d::AllToAllOptions&) {
  auto work = c10::make_intrusive<MpiWork>(getRank(), c10d::OpType::ALLTOALL_BASE,
                                           std::vector<at::Tensor>{output, input});
  Routes routes{{}, input_sizes, {}, output_sizes};
  if (routes.send.empty())
    routes.send.assign(static_cast<size_t>(getSize()), input.numel() / getSize());
  if (routes.receive.empty())
    routes.receive.assign(static_cast<size_t>(getSize()), output.numel() / getSize());
  for (auto& n : routes.send) n *= input.element_size();
  for (auto& n : routes.receive) n *= output.element_size();
  routes.send_at = starts(routes.send);
  routes.receive_at = starts(routes.receive);
  work->start = [this, routes = std::move(routes), out = bytes(output), in = bytes(input),
                 tag = next_tag()](MpiWork& w) { exchange(w, routes, out, in, tag); };
  return enqueue(work);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::send(std::vector<at::Tensor>& tensors, int peer,
                                                int tag) {
  const at::Tensor& tensor = tensors.at(0);
  auto work = c10::make_intrusive<MpiWork>(getRank(), c10d::OpType::SEND, tensors);
  work->start = [this, data = bytes(tensor), size = static_cast<int64_t>(tensor.nbytes()), peer,
                 tag](MpiWork& w) {
    send_pieces(w, data, size, piece(peer), peer, tag, messages_);
  };
  return enqueue(work);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::recv(std::vector<at::Tensor>& tensors, int peer,
                                                int tag) {
  const at::Tensor& tensor = tensors.at(0);
  auto work = c10::make_intrusive<MpiWork>(getRank(), c10d::OpType::RECV, tensors);
  work->start = [this, data = bytes(tensor), size = static_cast<int64_t>(tensor.nbytes()), peer,
                 tag](MpiWork& w) {
    receive_pieces(w, data, size, piece(peer), peer, tag, messages_);
  };
  return enqueue(work);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::barrier(const c10d::BarrierOptions&) {
  auto work =
      c10::make_intrusive<MpiWork>(getRank(), c10d::OpType::BARRIER, std::vector<at::Tensor>{});
  work->start = [this](MpiWork& w) {
    require(MPI_Ibarrier(communicator_, &next_request(w)), "MPI_Ibarrier");
  };
  return enqueue(work);
}

}  // namespace terse
