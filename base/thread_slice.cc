#include "base/thread_slice.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace terse {
namespace {

// <linux/sched/types.h> of kernel headers that may be older than the kernel. The first version.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;  // SCHED_OTHER
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // of SCHED_OTHER: the slice, in nanoseconds
  uint64_t deadline = 0;
  uint64_t period = 0;
};

}  // namespace

bool ask_for_slice(std::chrono::microseconds slice) {
  const std::chrono::nanoseconds length = slice;
  SchedulingAttributes wanted;
  wanted.nice = ::getpriority(PRIO_PROCESS, 0);
  wanted.runtime = static_cast<uint64_t>(length.count());
  return ::syscall(SYS_sched_setattr, 0, &wanted, 0) == 0;
}

}  // namespace terse
