#include "comm/plan/link_probe.h"

#include <ATen/ATen.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace terse {
namespace {

struct Sample {
  double seconds = 0;
  double core_seconds = 0;
  double bytes = 0;  // that a rank sent
};

double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// An all-to-all and an all-gather of `share` bytes for every rank, both under way at once; the
// slowest rank's times.
Sample sample(Group& group, int64_t share) {
  const int64_t ranks = group.size();
  const auto bytes = at::TensorOptions().dtype(at::kByte);
  const at::Tensor out = at::zeros({share * ranks}, bytes), in = at::zeros({share * ranks}, bytes);
  const at::Tensor all = at::zeros({share * ranks}, bytes), own = at::zeros({share}, bytes);
  group.barrier("link");
  const auto begin = std::chrono::steady_clock::now();
  const double processor = processor_seconds();
  Pending scatter = group.all_to_all(out, in, "link");
  Pending gather = group.all_gather(all, own, "link");
  scatter.wait();
  gather.wait();
  Sample mine{
      .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
      .core_seconds = processor_seconds() - processor,
      .bytes = static_cast<double>(2 * share * (ranks - 1))};
  for (const Sample& theirs : group.all_gather_value(mine, "link")) {
    mine.seconds = std::max(mine.seconds, theirs.seconds);
    mine.core_seconds = std::max(mine.core_seconds, theirs.core_seconds);
  }
  return mine;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Sample fastest(Group& group, int64_t share, int times) {
  Sample best = sample(group, share);
  for (int i = 1; i < times; ++i) {
    const Sample next = sample(group, share);
    if (next.seconds < best.seconds) best = next;
  }
  return best;
}

}  // namespace

Link measure_link(Group group, const LinkProbeOptions& options) {
  if (group.size() == 1) return {.latency = 0, .per_message = 0, .bytes_per_second = 1e15};
  for (int i = 0; i < 3; ++i) sample(group, 8);  // connects
  std::vector<double> small;
  for (int i = 0; i < 9; ++i) small.push_back(sample(group, 8).seconds);
  Link link{.latency = median(small), .per_message = 0};

  const int64_t most = std::max<int64_t>(1, options.most_bytes / (2 * (group.size() - 1)));
  int64_t share = std::min<int64_t>(most, 16 << 10);
  Sample before = fastest(group, share, 2), now = before;
  while (share < most && now.seconds < options.seconds) {
    share = std::min(most, 4 * share);
    before = now;
    now = fastest(group, share, 2);
  }
  // On a very noisy machine the larger one may be no slower.
  const double slope = (now.seconds - before.seconds) / (now.bytes - before.bytes);
  const double whole = now.seconds / now.bytes;
  link.bytes_per_second = 1 / (slope > 0.2 * whole ? slope : whole);
  // Whoever polls takes more while there is nothing to do.
  link.core_seconds_per_byte = std::min(now.core_seconds / now.bytes, 1 / link.bytes_per_second);
  return link;
}

}  // namespace terse
