#include <algorithm>
#include <thread>

#include "comm/group_impl.h"

namespace terse {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long one uninterrupted wait lasts before the heartbeat is asked again.
constexpr milliseconds kSlice{250};
// Long enough for every living rank to be heard twice, on a busy machine.
constexpr milliseconds kDiagnosis{5'000};

milliseconds remaining(Clock::time_point deadline) {
  return std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
}

bool is_timeout(const std::string& text) {
  return text.find("imed out") != std::string::npos || text.find("imeout") != std::string::npos;
}

}  // namespace

void Pending::wait() {
  if (!state_ || state_->complete) return;
  state_->wait();
}

bool Pending::done() const {
  if (!state_ || state_->complete) return true;
  return state_->work->isCompleted() || state_->group->connection->heartbeat->failure().has_value();
}

void Pending::State::wait() {
  group->connection->require_healthy();
  wait_for_work();
  if (finish) finish();
  complete = true;
  keep.clear();
  finish = nullptr;
}

void Pending::State::wait_for_work() {
  const Heartbeat& heartbeat = *group->connection->heartbeat;
  const bool cuda = group->device.is_cuda();
  while (true) {
    // A finished collective counts even if somebody failed afterwards.
    const bool completed = work->isCompleted();
    if (!completed) {
      if (const auto failure = heartbeat.failure()) lost(*failure);
      if (remaining(deadline) <= milliseconds(0)) late();
    }
    // NCCL's wait() only orders streams, so the host polls.
    if (cuda && !completed) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      continue;
    }
    const milliseconds left = std::max(remaining(deadline), milliseconds(1));
    try {
      if (work->wait(whole_wait ? left : std::min(kSlice, left))) return;
      broken("the transfer was aborted");
    } catch (const Error&) {
      throw;
    } catch (const std::exception& e) {
      // Only what was thrown by a finished transfer is its own error: the end of our slice throws
      // too, and the transfer may finish between that and this line.
      if (completed || whole_wait) broken(e.what());
    }
  }
}

void Pending::State::late() {
  GroupConnection& c = *group->connection;
  const auto waited = Clock::now() - (deadline - group->timeout);
  const double seconds = std::chrono::duration<double>(waited).count();
  std::string text =
      fmt::format("rank {} waited {:.1f} s for {} (collective {}); behind: {}", c.world_rank,
                  seconds, what, sequence, c.heartbeat->behind(sequence));
  const Failure first = c.heartbeat->publish({{}, true, text});
  if (first.text != text) lost(first);
  c.fail_with(ExitCode::deadline, text);
}

void Pending::State::broken(const std::string& why) {
  GroupConnection& c = *group->connection;
  const std::string line = why.substr(0, why.find('\n'));
  if (const auto failure = c.heartbeat->diagnose(kDiagnosis)) lost(*failure);
  if (is_timeout(line) && remaining(deadline) <= milliseconds(0)) late();
  const Failure first = c.heartbeat->publish(
      {{},
       false,
       fmt::format("rank {}'s connection broke although all ranks live: {}", c.world_rank, line)});
  lost(first);
}

void Pending::State::lost(const Failure& failure) {
  GroupConnection& c = *group->connection;
  c.fail_with(failure.deadline ? ExitCode::deadline : ExitCode::peer_lost,
              fmt::format("rank {}, in {} (collective {}): {}", c.world_rank, what, sequence,
                          failure.text));
}

}  // namespace terse
