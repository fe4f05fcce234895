#include "trainer/bench/train/peer.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace terse {
namespace {

std::vector<std::string> child_environment(int threads) {
  std::vector<std::string> all{"MALLOC_MMAP_MAX_=0", "MALLOC_TRIM_THRESHOLD_=2147483647",
                               "MALLOC_TOP_PAD_=268435456",
                               fmt::format("OMP_NUM_THREADS={}", threads)};
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string entry(*e);
    if (!entry.starts_with("MALLOC_") && !entry.starts_with("OMP_NUM_THREADS="))
      all.push_back(entry);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> all;
  for (std::string& s : strings) all.push_back(s.data());
  all.push_back(nullptr);
  return all;
}

// A socket pair, not pipes: writing to a child that ended is then an error, not a signal.
struct Channel {
  int ours = -1, childs = -1;
};
Channel make_channel() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    fail(ExitCode::usage, "socket pair for a bench's child process: {}", std::strerror(errno));
  return {ends[0], ends[1]};
}

}  // namespace

Peer::Peer(std::vector<std::string> command, int threads, double timeout_s)
    : name_(command.front()), timeout_s_(timeout_s) {
  const Channel channel = make_channel();
  channel_ = channel.ours;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, channel.childs, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, channel.childs, STDOUT_FILENO);
  std::vector<std::string> environment = child_environment(threads);
  const int error = ::posix_spawn(&pid_, command.front().c_str(), &actions, nullptr,
                                  pointers(command).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(channel.childs);
  try {
    if (error != 0) {
      pid_ = -1;
      fail(ExitCode::usage, "cannot start {}: {}", name_, std::strerror(error));
    }
    while (read_line() != "ready") {
    }
  } catch (...) {
    end();
    throw;
  }
}

Peer::~Peer() {
  end();
}

void Peer::end() {
  ::close(channel_);
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
}

std::string Peer::read_line() {
  for (;;) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd wait{channel_, POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(timeout_s_ * 1e3));
    if (ready == 0) {
      ::kill(pid_, SIGKILL);
      fail(ExitCode::deadline, "{} did not answer within {} s", name_, timeout_s_);
    }
    char bytes[256];
    const ssize_t n = ::read(channel_, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(ExitCode::usage, "{} ended; its own message is above", name_);
    buffer_.append(bytes, static_cast<size_t>(n));
  }
}

double Peer::run() {
  constexpr char request[] = "step\n";
  if (::send(channel_, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1)
    fail(ExitCode::usage, "{} ended; its own message is above", name_);
  return std::strtod(read_line().c_str(), nullptr);
}

}  // namespace terse
