// Runs real processes: N ranks of a program, under plain environment variables, mpirun or torchrun.
//
//   Outcome o = run_ranks({.launcher = Started::environment, .ranks = 3,
//                          .command = {program, "all_reduce"}, .limit = 20s});
//   ASSERT_TRUE(o.ok()) << o.text();
//
// Every process runs in a process group of its own that is killed when the limit passes or when the
// Job is destroyed, so that nothing is left behind. OMP_NUM_THREADS is 1 unless `environment` says
// otherwise. Under mpirun and torchrun there is one entry, the launcher's; under plain environment
// variables one per rank. `start_ranks` gives control while they run (kill one, wait for a line).
#pragma once
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace terse::testing {

enum class Started { environment, mpirun, torchrun };
std::string name_of(Started launcher);

struct Launch {
  Started launcher = Started::environment;
  int ranks = 1;
  std::vector<std::string> command;                // program and arguments
  std::map<std::string, std::string> environment;  // added to the current one
  std::chrono::milliseconds limit{60'000};
};

struct Exit {
  int code = -1;           // exit code, or -1 when ended by a signal
  int signal = 0;          // which one
  bool timed_out = false;  // killed by us at the limit
  std::string output;      // standard output and error, interleaved
};

struct Outcome {
  std::vector<Exit> exits;
  double seconds = 0;
  bool ok() const;           // every code is 0
  std::string text() const;  // all codes and outputs, for a failing test
};

class Job {
 public:
  explicit Job(const Launch& launch);
  ~Job();  // kills what is left
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  // Sends a signal to one process (plain environment: the rank; else 0, the launcher).
  void signal(int index, int number);
  // Until process `index` has printed `text`; false if it ended or the limit passed first.
  bool wait_for(int index, const std::string& text);
  bool running(int index);
  int pid(int index) const;
  Outcome wait();  // for all, at most until the limit

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Outcome run_ranks(const Launch& launch);

// False when this machine lacks the launcher (no mpirun, no .venv-peers): GTEST_SKIP then.
bool available(Started launcher);
int free_port();                    // of the loopback interface
std::string temporary_directory();  // fresh, under /tmp; the caller removes it

}  // namespace terse::testing
