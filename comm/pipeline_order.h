// The order in which one communication thread takes all buckets through their rounds: computed from
// two numbers, so that every rank issues the same collectives in the same order. Free of torch.
#pragma once
#include <cstdint>
#include <vector>

namespace terse {

// Round 0 = start, rounds 1 .. R-1 = advance, round R = finish.
struct ReducerItem {
  int64_t bucket = 0;
  int round = 0;
  bool operator==(const ReducerItem&) const = default;
};

// Bucket k + 1 starts before bucket k advances, and so on: every round of one bucket overlaps with
// the earlier rounds of the next.
std::vector<ReducerItem> pipeline_order(int64_t buckets, int rounds);

}  // namespace terse
