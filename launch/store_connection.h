// A limit on how long a request to the store may go unanswered when the network fails.
#pragma once
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

namespace terse {

// TCPStore reads its answers without a deadline: when a cable is cut, no packet ever says so, and
// the reader would sit there for ever, holding the store's lock. From now on the kernel ends each
// of this process's present connections to the store's port once the other side has not
// acknowledged anything for `limit` (TCP_USER_TIMEOUT, and probes while nothing is under way); the
// request then fails like any other. Call it after connecting and after Store::clone(). Nothing
// happens for other kinds of stores, or where the kernel refuses. Thread-safe.
void limit_silence(c10d::Store& store, std::chrono::milliseconds limit);

}  // namespace terse
