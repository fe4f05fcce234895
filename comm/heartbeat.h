// Heartbeat: knows which rank died, when transports only say that a connection broke.
//
// One thread per process, over a connection of its own to the store. Twice a second it writes this
// rank's beat (a counter, and the collective it is at), reads its neighbour's (so that N ranks cost
// N reads), and looks whether somebody reported a failure. The first failure is published once,
// with the lost rank's name, and reaches everyone within a beat. A rank that ends says why first. A
// store that does not answer is asked again, over a new connection, until the limit has passed; it
// is given up at once only when a transport broke too.
//
// Thread-safe.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

namespace terse {

// The first thing that went wrong, the same on all ranks that could still be told.
struct Failure {
  std::vector<int> lost;  // ranks of the world; may be empty
  bool deadline = false;  // nobody died, but somebody waited too long
  std::string text;       // "rank 2 stopped responding"
};

class Heartbeat {
 public:
  // `hosts_store`: the store lives in this process, so its end is the end of the store for all.
  Heartbeat(c10::intrusive_ptr<c10d::Store> store, int rank, int size, bool hosts_store,
            bool store_on_rank_0, std::chrono::milliseconds limit);
  ~Heartbeat();  // goodbye, waits for others when it hosts the store

  // The collective this rank is about to issue.
  void at(int64_t sequence, std::string what);
  std::optional<Failure> failure() const;
  // Listens until every other rank was heard twice or `patience` passed: the silent ones are lost,
  // and published. Called when a transport broke.
  std::optional<Failure> diagnose(std::chrono::milliseconds patience);
  // Ranks not heard within `patience`; publishes nothing.
  std::vector<int> silent_ranks(std::chrono::milliseconds patience);
  // Ranks that are at an earlier collective than `sequence`, for a deadline's message.
  std::string behind(int64_t sequence);
  // This rank will end because of `failure`; the first one wins and is returned.
  Failure publish(Failure failure);

 private:
  struct Beat {
    int64_t count = -1;
    int64_t sequence = 0;
    std::string what;
    bool gone = false;
    bool failed = false;  // gone after an error
  };
  using Clock = std::chrono::steady_clock;

  struct Census {
    std::vector<int> left;    // said goodbye, and not because of an error
    std::vector<int> silent;  // fewer than two beats since the first count
    bool undecided = false;   // somebody was heard once: living, or the last beat of a dead rank
  };

  void run();
  void beat();
  Census count(std::map<int, int64_t>& first);
  void watch_neighbour();
  void lost_store(const char* what);
  void store_failed(const char* what);
  std::optional<Beat> read(int rank);
  std::optional<Failure> published();
  void remember(Failure failure);
  void wait_for_goodbyes();
  std::string own_beat(const char* state);

  c10::intrusive_ptr<c10d::Store> store_;
  const int rank_;
  const int size_;
  const bool hosts_store_;
  const bool store_on_rank_0_;
  const std::chrono::milliseconds limit_;

  std::mutex store_mutex_;  // one request at a time over store_
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  int64_t sequence_ = 0;
  std::string what_;
  std::optional<Failure> failure_;

  // Of the beating thread alone.
  int64_t count_ = 0;
  int neighbour_ = 0;
  int64_t neighbour_count_ = -1;
  Clock::time_point neighbour_heard_;
  std::optional<Clock::time_point> store_failing_since_;

  std::thread thread_;
};

}  // namespace terse
