// How long a wait may last, with a transfer made for it.
#include <gtest/gtest.h>

#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "base/error.h"
#include "comm/group_impl.h"

namespace terse {
namespace {

using namespace std::chrono_literals;

// Gloo's behaviour when it ends between a slice and its exception: wait() throws a timeout, and
// from then on the transfer is complete.
class LateWork final : public c10d::Work {
 public:
  explicit LateWork(bool ends) : ends_(ends) {}
  bool isCompleted() override { return waits > 0 && ends_; }
  bool wait(std::chrono::milliseconds) override {
    if (++waits == 1 || !ends_) throw std::runtime_error("Timed out waiting 250ms for recv");
    return true;
  }
  int waits = 0;

 private:
  bool ends_;
};

ExitCode wait_for(bool ends, std::chrono::milliseconds left) {
  auto state = std::make_shared<Pending::State>();
  state->group = std::make_shared<Group::Impl>();
  auto& connection = state->group->connection = std::make_shared<GroupConnection>();
  connection->heartbeat =
      std::make_unique<Heartbeat>(c10::make_intrusive<c10d::HashStore>(), 0, 1, false, false, 5s);
  state->work = c10::make_intrusive<LateWork>(ends);
  state->deadline = std::chrono::steady_clock::now() + left;
  try {
    Pending(state).wait();
    return ExitCode::ok;
  } catch (const Error& e) {
    return e.code();
  }
}

TEST(Pending, TransferThatEndsBehindItsSliceSucceeds) {
  EXPECT_EQ(wait_for(true, 10s), ExitCode::ok);
}

TEST(Pending, TransferThatNeverEndsPassesTheDeadline) {
  EXPECT_EQ(wait_for(false, 20ms), ExitCode::deadline);
}

}  // namespace
}  // namespace terse
