// Measures what an exchange computes, by running it on one rank.
#pragma once
#include "comm/bucket.h"
#include "comm/exchange_options.h"
#include "comm/group.h"
#include "comm/plan/exchange_costs.h"

namespace terse {

struct ExchangeProbeOptions {
  int64_t elements = int64_t{4} << 20;  // of the plan's first buckets; 0: all. Beyond the caches
  int repetitions = 3;                  // the fastest counts
};

// Runs the exchange of `options` (not lgreco or auto: their worker) over the first buckets of the
// plan, alone on a thread of its own and with the caller's OpenMP team, and times each item,
// together with the norms that the Reducer takes (comm/reducer.cc) and, for lossy codecs, a
// message's copy. `ranks` decides what
// sparse = auto means. Values are random. CPU only. Some milliseconds a repetition; memory: a few
// copies of these buckets while it runs. Error(usage) as make_exchange().
ExchangeSpeed measure_exchange(const ExchangeOptions& options, const BucketPlan& plan,
                               int64_t ranks, const ExchangeProbeOptions& probe = {});

// Collective: the slowest rank's times, the same on all ranks.
ExchangeSpeed slowest(Group group, const ExchangeSpeed& own);

}  // namespace terse
