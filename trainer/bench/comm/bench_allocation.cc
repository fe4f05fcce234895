#include "comm/allocation/allocation.h"
#include "trainer/bench/comm/comm_bench.h"

namespace terse {

void bench_allocation(CommBench& bench) {
  std::vector<AllocationSegment> segments(150);
  for (size_t l = 0; l < segments.size(); ++l) {
    const auto noise = static_cast<double>(l * 2654435761 % 1009);
    for (int c = 1; c <= 10; ++c)
      segments[l].choices.push_back({static_cast<double>(c), c * (4096 + 64 * noise),
                                     (1 + noise) / (c + 0.001 * static_cast<double>(l))});
    segments[l].reference = 3;
  }
  bench.measure_time("solve.lgreco", [&] { solve_allocation(segments); });
}

}  // namespace terse
