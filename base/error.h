// Errors that reach a user, and the exit codes they end in.
//
// Libraries throw `Error`; only the command line (trainer/main) maps it to an exit code and prints.
// A message says what happened, where (file, tensor, rank, step) and what to do about it.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace terse {

// Exit codes of the command line. Do not change the values: scripts depend on them.
enum class ExitCode : int {
  ok = 0,
  usage = 2,         // a wrong recipe or command line
  peer_lost = 3,     // another rank died
  deadline = 4,      // a collective or rendezvous passed its deadline
  invalid_file = 5,  // a checkpoint or input file is invalid, or cannot be read or written
  non_finite = 6,    // more consecutive non-finite steps than allowed
  disagree = 7,      // ranks disagree on recipe, plan, step or parameters
  preempted = 75,    // asked to stop; state was saved
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& what) : std::runtime_error(what), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

template <typename... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// A broken invariant of our own: a bug, not a user's mistake. Always on.
#define TERSE_CHECK(condition, ...)                                                          \
  do {                                                                                       \
    if (!(condition)) [[unlikely]]                                                           \
      throw std::logic_error(fmt::format("{}:{}: check `{}` failed: {}", __FILE__, __LINE__, \
                                         #condition, fmt::format(__VA_ARGS__)));             \
  } while (false)

}  // namespace terse
