// One list of work items in a fixed order, begun by a background thread while backward runs and
// finished by the caller.
//
// The order is the same on every rank whatever the timing: an item runs only after all before it.
// The background thread works alone (an OpenMP team of one): while backward uses all cores, a
// second team would only take turns with it, and libgomp gives every thread that opens a team a
// pool of its own. When backward is over, take_over() stops it behind the current item and the rest
// runs on the caller's thread, with the team that backward used and that is idle now.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/pipeline_order.h"

namespace terse {

class ReducerThread {
 public:
  // `run` does one item; called from one thread at a time.
  ReducerThread(c10::Device device, std::function<void(ReducerItem)> run);
  ~ReducerThread();  // waits for the current item
  ReducerThread(const ReducerThread&) = delete;
  ReducerThread& operator=(const ReducerThread&) = delete;

  // A new list; the previous one must be complete. `background`: begin at once, as buckets become
  // ready; otherwise all waits for run_rest().
  void begin(std::vector<ReducerItem> items, bool background);
  // Round 0 of this bucket may run. From any thread.
  void ready(int64_t bucket);
  // Stops the background thread behind the current item. Rethrows what an item threw.
  void take_over();
  // Runs all remaining items on this thread. After take_over().
  void run_rest();
  // Seconds spent in items since begin(), on either thread.
  double busy_seconds() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace terse
