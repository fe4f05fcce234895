#include "comm/reducer_thread.h"

#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <omp.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/thread_slice.h"

namespace terse {
namespace {

// Makes `later` (a stream) wait for what `earlier` was given so far. Host threads of CPU tensors
// are ordered by the mutex alone.
class StreamOrder {
 public:
  explicit StreamOrder(c10::Device device) : device_(device) {}
  bool needed() const { return !device_.is_cpu(); }
  void record() {
    if (!needed()) return;
    const c10::impl::VirtualGuardImpl guard(device_.type());
    event_.emplace(device_.type());
    event_->record(guard.getStream(device_));
  }
  void wait() {
    if (!needed() || !event_) return;
    const c10::impl::VirtualGuardImpl guard(device_.type());
    event_->block(guard.getStream(device_));
  }

 private:
  c10::Device device_;
  std::optional<c10::Event> event_;
};

}  // namespace

struct ReducerThread::State {
  State(c10::Device d, std::function<void(ReducerItem)> f)
      : device(d), run(std::move(f)), backward(d), background_work(d) {}

  bool may_run() const {
    if (!background || error || cursor >= items.size()) return false;
    return items[cursor].round > 0 || ready.contains(items[cursor].bucket);
  }

  // Runs items[cursor] with the mutex released.
  void step(std::unique_lock<std::mutex>& lock) {
    const ReducerItem item = items[cursor];
    busy = true;
    lock.unlock();
    const auto begin = std::chrono::steady_clock::now();
    std::exception_ptr thrown;
    try {
      run(item);
    } catch (...) {
      thrown = std::current_exception();
    }
    if (std::this_thread::get_id() == thread.get_id()) background_work.record();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    lock.lock();
    seconds += spent.count();
    busy = false;
    error = thrown;
    ++cursor;
    changed.notify_all();
  }

  void loop() {
    // What it hands to the wire early is hidden; backward's end is soon enough for backward.
    ask_for_slice(std::chrono::microseconds(500));
    // Torch's lazy initialisation of a thread would set the global number of threads again.
    at::init_num_threads();
    omp_set_num_threads(1);
    std::optional<c10::StreamGuard> stream;
    if (backward.needed()) {
      const c10::impl::VirtualGuardImpl guard(device.type());
      guard.setDevice(device);
      stream.emplace(guard.getStreamFromGlobalPool(device));
    }
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return stop || may_run(); });
      if (stop) return;
      backward.wait();
      step(lock);
    }
  }

  c10::Device device;
  std::function<void(ReducerItem)> run;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::vector<ReducerItem> items;
  size_t cursor = 0;
  std::set<int64_t> ready;
  bool background = false;
  bool busy = false;
  bool stop = false;
  std::exception_ptr error;
  double seconds = 0;
  StreamOrder backward;         // what backward has launched when a bucket became ready
  StreamOrder background_work;  // what the background thread has launched
  std::thread thread;
};

ReducerThread::ReducerThread(c10::Device device, std::function<void(ReducerItem)> run)
    : state_(std::make_unique<State>(device, std::move(run))) {
  state_->thread = std::thread([s = state_.get()] { s->loop(); });
}

ReducerThread::~ReducerThread() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void ReducerThread::begin(std::vector<ReducerItem> items, bool background) {
  {
    const std::lock_guard lock(state_->mutex);
    TERSE_CHECK(state_->cursor == state_->items.size(), "the previous step is not finished");
    state_->items = std::move(items);
    state_->cursor = 0;
    state_->ready.clear();
    state_->background = background;
    state_->seconds = 0;
  }
  state_->changed.notify_all();
}

void ReducerThread::ready(int64_t bucket) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ready.insert(bucket);
    state_->backward.record();
  }
  state_->changed.notify_all();
}

void ReducerThread::take_over() {
  std::unique_lock lock(state_->mutex);
  state_->background = false;
  state_->changed.wait(lock, [this] { return !state_->busy; });
  state_->background_work.wait();
  if (state_->error) std::rethrow_exception(state_->error);
}

void ReducerThread::run_rest() {
  std::unique_lock lock(state_->mutex);
  TERSE_CHECK(!state_->background && !state_->busy, "take_over() comes first");
  while (state_->cursor < state_->items.size()) {
    state_->step(lock);
    if (state_->error) std::rethrow_exception(state_->error);
  }
}

double ReducerThread::busy_seconds() const {
  const std::lock_guard lock(state_->mutex);
  return state_->seconds;
}

}  // namespace terse
