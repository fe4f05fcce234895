#include "trainer/cli/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace terse {
namespace {

// In a child, since the flag stays set for good.
int exit_code_of(int (*child)()) {
  const pid_t pid = fork();
  if (pid == 0) _exit(child());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(Signals, EachSetsTheFlagAndTheFirstIsRemembered) {
  EXPECT_FALSE(stop_requested());
  const int code = exit_code_of([] {
    install_stop_signals();
    if (stop_requested()) return 1;
    raise(SIGTERM);
    raise(SIGUSR1);
    return stop_requested() && stop_signal() == SIGTERM ? 0 : 2;
  });
  EXPECT_EQ(code, 0);
}

TEST(Signals, SecondInterruptEndsTheProcess) {
  const int code = exit_code_of([] {
    install_stop_signals();
    raise(SIGINT);
    if (!stop_requested()) return 1;
    raise(SIGINT);
    return 2;
  });
  EXPECT_EQ(code, 128 + SIGINT);
}

}  // namespace
}  // namespace terse
