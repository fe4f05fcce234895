// That the limit of the fuzzers stops what is beyond it, in however many pieces, and nothing else.
#include "tests/fuzz/live_memory.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

constexpr size_t kPiece = size_t{1} << 20;

void hold(int pieces) {
  std::vector<std::vector<char>> held;
  for (int i = 0; i < pieces; ++i) held.emplace_back(kPiece);
}

// Whether the child is stopped; ends this program where it ends in any other way.
bool stopped(size_t input, const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    {
      const terse::LiveMemory limit(input);
      work();
    }
    hold(100);  // the scope is over
    ::_exit(0);
  }
  int status = 0;
  const bool known = ::waitpid(child, &status, 0) == child &&
                     ((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ||
                      (WIFEXITED(status) && WEXITSTATUS(status) == 0));
  if (!known) std::exit(2);
  return WIFSIGNALED(status);
}

int wrong(const char* what) {
  std::fprintf(stderr, "wrong: %s\n", what);
  return 1;
}

}  // namespace

int main() {
  if (stopped(0, [] { hold(62); })) return wrong("62 MiB were stopped");
  if (!stopped(0, [] { hold(66); })) return wrong("66 MiB were not stopped");
  if (stopped(8 * kPiece, [] { hold(66); })) return wrong("the input does not count");
  if (!stopped(8 * kPiece, [] { hold(74); })) return wrong("the input counts twice");
  if (stopped(0, [] {
        for (int i = 0; i < 4; ++i) hold(40);
      }))
    return wrong("what was freed counts");
  return 0;
}
