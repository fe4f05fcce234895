// Measures the Link between the ranks of a group by its own collectives.
#pragma once
#include "comm/group.h"
#include "comm/plan/link.h"

namespace terse {

struct LinkProbeOptions {
  double seconds = 0.05;                   // that the largest pair of collectives should take
  int64_t most_bytes = int64_t{16} << 20;  // that it may send
};

// Collective; the same Link on all ranks. Times pairs of an all-to-all and an all-gather that are
// under way together, as an exchange has them (comm/pipeline_order.h): small ones for the latency,
// then growing ones; speed is the slope between the last two sizes, so that neither the latency nor
// what a shaped link lets through at once counts. What is slowest over the ranks counts each time.
// per_message is 0: the latency is that of N ranks. core_seconds_per_byte is the processor time of
// this process meanwhile (interrupts of the kernel that no process is charged with are not in it).
// Takes about 0.2 s on a slow link, 50 ms on a fast one. At size 1: a link that carries everything
// at once.
Link measure_link(Group group, const LinkProbeOptions& options = {});

}  // namespace terse
