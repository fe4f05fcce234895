// Measures what an exchange computes, by running it on one rank.
#pragma once
#include <functional>

#include "comm/bucket.h"
#include "comm/exchange_options.h"
#include "comm/group.h"
#include "comm/plan/exchange_costs.h"

namespace terse {

// Fills a message of a bucket and sums squares, as Optimizer::message does in a compressed phase.
using FillMessage = std::function<double(int64_t bucket, at::Tensor message)>;

struct ExchangeProbeOptions {
  int64_t elements = int64_t{4} << 20;  // of the plan's first buckets; 0: all. Beyond the caches
  int repetitions = 3;                  // the fastest counts
  // The optimizer's messages to lossy exchanges, given the buckets and their gradients; by default
  // a scaled copy of the gradient.
  std::function<FillMessage(const BucketPlan&, std::span<const at::Tensor>)> messages = {};
};

// Runs the exchange of `options` (not lgreco or auto: their worker) over the first buckets of the
// plan, alone on a thread of its own and with the caller's OpenMP team, and times each item,
// together with the norms that the Reducer takes (comm/reducer.cc) and, for lossy codecs, making
// the message. `ranks` decides what sparse = auto means. Values are random. CPU only. Some
// milliseconds a repetition; memory: a few copies of these buckets while it runs. Error(usage) as
// make_exchange().
ExchangeSpeed measure_exchange(const ExchangeOptions& options, const BucketPlan& plan,
                               int64_t ranks, const ExchangeProbeOptions& probe = {});

// Collective: the slowest rank's times, the same on all ranks.
ExchangeSpeed slowest(Group group, const ExchangeSpeed& own);

}  // namespace terse
