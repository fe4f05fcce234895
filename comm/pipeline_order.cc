#include "comm/pipeline_order.h"

namespace terse {

std::vector<ReducerItem> pipeline_order(int64_t buckets, int rounds) {
  std::vector<ReducerItem> items;
  for (int64_t tick = 0; tick < buckets + rounds; ++tick)
    for (int round = 0; round <= rounds; ++round)
      if (tick - round >= 0 && tick - round < buckets) items.push_back({tick - round, round});
  return items;
}

}  // namespace terse
