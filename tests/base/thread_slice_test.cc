#include "base/thread_slice.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <thread>

namespace terse {
namespace {

// Whether the kernel listens or not, policy and share of the core stay as they were.
TEST(ThreadSlice, ChangesNothingElse) {
  std::thread([] {
    ASSERT_EQ(::setpriority(PRIO_PROCESS, 0, 3), 0);
    ask_for_slice(std::chrono::microseconds(100));
    EXPECT_EQ(::getpriority(PRIO_PROCESS, 0), 3);
    EXPECT_EQ(::sched_getscheduler(0), SCHED_OTHER);
  }).join();
}

}  // namespace
}  // namespace terse
