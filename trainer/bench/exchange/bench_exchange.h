// `terse bench exchange`: the average of fp32 elements over the ranks, by every exchange, in turns
// with dense bf16. From the first bucket's encoding to the last bucket's answer on the slowest
// rank, buckets of 4 MiB in the Reducer's order, nothing else to do meanwhile. Names:
//   exchange.bf16, exchange.fp32       dense
//   exchange.onebit, exchange.int4     two-stage, a scale per layer of 1,048,576; a grid per 512
//   exchange.topk                      0.1 % of each layer
//   exchange.lowrank                   PowerSGD of rank 4, layers as matrices of 1,024 x 1,024
// On one rank nothing is sent and what remains is the codecs.
//
//   scripts/cluster --hosts 2 --cores-per-host 1 --link 1Gbit -- terse bench exchange --quick
#pragma once
#include <cstdint>
#include <vector>

#include "comm/group.h"
#include "trainer/bench/core/bench_result.h"

namespace terse {

struct BenchExchangeOptions {
  bool quick = false;
  int64_t elements = 25'165'824;
};

// Collective; the same results on every rank. `value` in ms, `ratio` the time over dense bf16's of
// the same round; medians over 5 rounds (quick: 3) behind an unmeasured one. Time is that of the
// link: 100 Mbit/s and 2 ranks about 80 s, quick 55 s. Memory: 1.5 GB a rank.
std::vector<BenchResult> bench_exchange(const Group& group, const BenchExchangeOptions& options);

}  // namespace terse
