// A baseline in a child process: it prints "ready" when warm; to every line it is sent it answers
// with the seconds that one step took.
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

namespace terse {

class Peer {
 public:
  // Starts it with glibc's allocator set as tune_allocator() sets ours, on `threads` OpenMP
  // threads, and waits until it is ready, at most `timeout_s`. Errors: Error(usage) when it cannot
  // be started or ends, Error(deadline).
  Peer(std::vector<std::string> command, int threads, double timeout_s);
  ~Peer();  // ends the child by closing its input
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  double run();  // seconds of one step

 private:
  std::string read_line();
  void end();

  std::string name_;
  double timeout_s_;
  pid_t pid_ = -1;
  int channel_ = -1;  // its standard input and output
  std::string buffer_;
};

}  // namespace terse
