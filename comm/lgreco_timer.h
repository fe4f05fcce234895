// What L-GreCo by time measures (comm/plan/allocate_by_time.h): the link, the codec with every
// parameter, and when buckets become ready.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/state.h"
#include "comm/decider.h"
#include "comm/exchange_options.h"
#include "comm/group.h"
#include "comm/lgreco_tables.h"
#include "comm/plan/allocate_by_time.h"

namespace terse {

// The same numbers on all ranks.
struct LgrecoTimes {
  Link link;
  // Means over ranks. `ready` is empty while nobody has timed a step: all is taken to be waited
  // for.
  StepModel step;
  std::vector<std::vector<Work>> work;  // [choice][round 0 .. R - 1, finish]: of an element

  // Of so many choices in an exchange of so many rounds.
  bool fit(int64_t choices, int rounds, size_t buckets) const;
  void save(StateWriter& state) const;
  static std::optional<LgrecoTimes> load(const StateReader& state);
};

struct LgrecoTimer {
  // Collective. `quiet`: this rank's times of steps in which nothing was exchanged meanwhile.
  std::function<LgrecoTimes(const BucketPlan& plan, const std::vector<StepTimes>& quiet)> measure;
  // By round, what a rank sends for a bucket with the uniform parameter.
  std::function<std::vector<Transfer>(const Bucket& bucket)> transfers;
  double copies = 1;    // that a rank sends of each byte in LgrecoTables
  double share = 1;     // of a bucket's elements, that a rank compresses
  int more_rounds = 0;  // of the exchange, that are not predicted: those inside a node
};

// `averaging`: the ranks between which messages travel: `group`, or this rank's peers on the other
// nodes. There all peers measure at once, as they send at once; each has its share of every bucket,
// taken as the mean share, and what travels inside nodes, the same for every choice, is left out.
//
// Codecs are measured once, with a million elements each: some 0.3 s in all; link and steps at
// every call.
LgrecoTimer make_lgreco_timer(const Group& group, const Group& averaging,
                              const ExchangeOptions& options, const LgrecoFamily& family);

// What allocate_by_time() reads; segments are `items`.
TimedStep timed_step(const LgrecoTimes& times, const LgrecoTimer& timer, const BucketPlan& plan,
                     const LgrecoFamily& family, int64_t ranks);
std::vector<TimedSegment> timed_segments(const LgrecoTimer& timer, const BucketPlan& plan,
                                         std::span<const LgrecoItem> items,
                                         const LgrecoTables& tables);

}  // namespace terse
