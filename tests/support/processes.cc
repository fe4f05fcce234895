#include "tests/support/processes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace terse::testing {
namespace {

using Clock = std::chrono::steady_clock;

std::string torchrun_path() {
  return TERSE_SOURCE_DIR "/.venv-peers/bin/torchrun";
}

// Where it was built, or beside this test: scripts/gpu-bundle carries both to another machine.
std::string program_at(const std::string& built) {
  namespace fs = std::filesystem;
  if (!built.starts_with('/') || fs::exists(built)) return built;
  return fs::read_symlink("/proc/self/exe").parent_path() / fs::path(built).filename();
}

std::vector<std::string> launcher_command(const Launch& launch) {
  const std::string n = std::to_string(launch.ranks);
  std::vector<std::string> words;
  if (launch.launcher == Started::mpirun) {
    words = {"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", n};
  } else if (launch.launcher == Started::torchrun) {
    words = {torchrun_path(),    "--no-python",
             "--nproc-per-node", n,
             "--rdzv-backend",   "c10d",
             "--rdzv-endpoint",  "127.0.0.1:" + std::to_string(free_port())};
  }
  const size_t program = words.size();
  words.insert(words.end(), launch.command.begin(), launch.command.end());
  words[program] = program_at(words[program]);
  return words;
}

// A launcher's variables around the test itself must not leak into the ranks.
bool is_launch_variable(const std::string& entry) {
  for (const char* prefix : {"RANK=", "WORLD_SIZE=", "LOCAL_", "MASTER_", "OMPI_", "PMIX_",
                             "SLURM_", "TORCHELASTIC_", "GROUP_RANK=", "OMP_NUM_THREADS="}) {
    if (entry.starts_with(prefix)) return true;
  }
  return false;
}

std::vector<std::string> child_environment(const Launch& launch, int rank, int port) {
  std::map<std::string, std::string> extra = {{"OMP_NUM_THREADS", "1"},
                                              {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                              {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  if (launch.launcher == Started::environment) {
    extra["RANK"] = std::to_string(rank);
    extra["WORLD_SIZE"] = std::to_string(launch.ranks);
    extra["MASTER_ADDR"] = "127.0.0.1";
    extra["MASTER_PORT"] = std::to_string(port);
  }
  for (const auto& [name, value] : launch.environment) extra[name] = value;
  std::vector<std::string> all;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string entry = *e;
    if (!is_launch_variable(entry) && !extra.contains(entry.substr(0, entry.find('=')))) {
      all.push_back(entry);
    }
  }
  for (const auto& [name, value] : extra) all.push_back(fmt::format("{}={}", name, value));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (auto& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

struct Process {
  pid_t pid = -1;
  int pipe = -1;
  bool running = false;
  Exit exit;
};

Process spawn(std::vector<std::string> words, std::vector<std::string> variables) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
  const auto argv = pointers(words);
  const auto envp = pointers(variables);
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork failed");
  if (pid == 0) {
    ::setpgid(0, 0);
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    ::execvpe(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  ::setpgid(pid, pid);
  ::close(ends[1]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {pid, ends[0], true, {}};
}

}  // namespace

struct Job::Impl {
  std::vector<Process> processes;
  Clock::time_point start = Clock::now();
  Clock::time_point end;

  void drain(Process& p) {
    char buffer[4096];
    ssize_t n = 0;
    while ((n = ::read(p.pipe, buffer, sizeof buffer)) > 0) {
      p.exit.output.append(buffer, static_cast<size_t>(n));
    }
  }

  void collect(Process& p, int status) {
    p.running = false;
    if (WIFEXITED(status)) p.exit.code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) p.exit.signal = WTERMSIG(status);
    ::kill(-p.pid, SIGKILL);  // whatever the launcher left behind
    drain(p);
  }

  void poll_once() {
    std::vector<pollfd> fds;
    for (auto& p : processes) {
      if (p.running) fds.push_back({p.pipe, POLLIN, 0});
    }
    if (!fds.empty()) ::poll(fds.data(), fds.size(), 5);
    for (auto& p : processes) {
      if (!p.running) continue;
      drain(p);
      int status = 0;
      if (::waitpid(p.pid, &status, WNOHANG) == p.pid) collect(p, status);
    }
    if (Clock::now() > end) kill_all();
  }

  void kill_all() {
    for (auto& p : processes) {
      if (!p.running) continue;
      p.exit.timed_out = true;
      // mpirun and torchrun put their ranks into groups of their own, and end them when asked to.
      ::kill(-p.pid, SIGTERM);
      int status = 0;
      for (int i = 0; i < 200; ++i) {
        if (::waitpid(p.pid, &status, WNOHANG) == p.pid) break;
        if (i == 199) {
          ::kill(-p.pid, SIGKILL);
          ::waitpid(p.pid, &status, 0);
        }
        ::usleep(10'000);
      }
      collect(p, status);
    }
  }

  bool any_running() const {
    for (const auto& p : processes) {
      if (p.running) return true;
    }
    return false;
  }
};

Job::Job(const Launch& launch) : impl_(std::make_unique<Impl>()) {
  impl_->end = impl_->start + launch.limit;
  const int port = free_port();
  const int count = launch.launcher == Started::environment ? launch.ranks : 1;
  for (int rank = 0; rank < count; ++rank) {
    impl_->processes.push_back(
        spawn(launcher_command(launch), child_environment(launch, rank, port)));
  }
}

Job::~Job() {
  impl_->kill_all();
  for (auto& p : impl_->processes) ::close(p.pipe);
}

void Job::signal(int index, int number) {
  ::kill(impl_->processes.at(static_cast<size_t>(index)).pid, number);
}

bool Job::wait_for(int index, const std::string& text) {
  Process& p = impl_->processes.at(static_cast<size_t>(index));
  while (p.exit.output.find(text) == std::string::npos) {
    if (!p.running) return false;
    impl_->poll_once();
  }
  return true;
}

bool Job::running(int index) {
  impl_->poll_once();
  return impl_->processes.at(static_cast<size_t>(index)).running;
}

int Job::pid(int index) const {
  return impl_->processes.at(static_cast<size_t>(index)).pid;
}

Outcome Job::wait() {
  while (impl_->any_running()) impl_->poll_once();
  Outcome outcome;
  for (const auto& p : impl_->processes) outcome.exits.push_back(p.exit);
  outcome.seconds = std::chrono::duration<double>(Clock::now() - impl_->start).count();
  return outcome;
}

bool Outcome::ok() const {
  for (const auto& e : exits) {
    if (e.code != 0) return false;
  }
  return true;
}

std::string Outcome::text() const {
  std::string all = fmt::format("after {:.1f} s\n", seconds);
  for (size_t i = 0; i < exits.size(); ++i) {
    all += fmt::format("--- process {}: code {}, signal {}{}\n{}\n", i, exits[i].code,
                       exits[i].signal, exits[i].timed_out ? ", timed out" : "", exits[i].output);
  }
  return all;
}

Outcome run_ranks(const Launch& launch) {
  return Job(launch).wait();
}

std::string name_of(Started launcher) {
  return launcher == Started::environment ? "environment"
         : launcher == Started::mpirun    ? "mpirun"
                                          : "torchrun";
}

bool available(Started launcher) {
  if (launcher == Started::environment) return true;
  if (launcher == Started::torchrun) return std::filesystem::exists(torchrun_path());
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  for (size_t at = 0; at <= rest.size();) {
    const size_t colon = std::min(rest.find(':', at), rest.size());
    if (std::filesystem::exists(rest.substr(at, colon - at) + "/mpirun")) return true;
    at = colon + 1;
  }
  return false;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no free port");
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

std::string temporary_directory() {
  std::string name = "/tmp/terse-test-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  return name;
}

}  // namespace terse::testing
