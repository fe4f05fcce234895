// What ranks that average compressed messages still owe: answers + owed = messages.
#pragma once
#include <vector>

#include "base/state.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {

// Matrices of several shapes, a vector, and one that is smaller than what codecs bother with.
inline BucketPlan matrices() {
  BucketPlan plan;
  const std::vector<std::vector<std::pair<int64_t, int64_t>>> shapes = {
      {{40, 96}, {1, 96}}, {{64, 64}, {3, 5}, {96, 33}}};
  for (const auto& shape : shapes) {
    Bucket bucket{static_cast<int64_t>(plan.buckets.size()), 0, {}};
    for (const auto& [rows, columns] : shape) {
      const std::string name = fmt::format("b{}.s{}", bucket.index, bucket.segments.size());
      bucket.segments.push_back({name, bucket.size, rows * columns, rows, columns, true});
      bucket.size += rows * columns;
    }
    plan.buckets.push_back(std::move(bucket));
  }
  return plan;
}

inline at::Tensor mean_over_ranks(Group& group, const at::Tensor& own) {
  at::Tensor all = at::empty({group.size(), own.numel()}, at::kFloat);
  group.all_gather(all.view({-1}), own.contiguous()).wait();
  return all.to(at::kDouble).mean(0);
}

// What future averages still owe: the mean of all that is kept, element by element, plus the
// owners' residuals, as a checkpoint has them.
inline std::vector<at::Tensor> owed(Group& group, const Exchange& exchange,
                                    const BucketPlan& plan) {
  MemoryState state(group.size());
  exchange.save(state);
  std::vector<at::Tensor> sums;
  for (const Bucket& bucket : plan.buckets) {
    at::Tensor total = at::zeros({bucket.size}, at::kDouble);
    for (const std::string kind : {"exchange/residual/", "exchange/server_residual/"}) {
      at::Tensor own = at::zeros({bucket.size}, at::kFloat), kept = at::zeros_like(own);
      for (const Segment& s : bucket.segments) {
        const auto saved = state.tensor(Scope::own, kind + s.name, -1);
        if (!saved) continue;
        const int64_t begin =
            state.tensor(Scope::own, kind + s.name + ".begin", -1)->as<int64_t>()[0];
        const auto values = saved->as<float>();
        for (size_t i = 0; i < values.size(); ++i) {
          own[s.offset + begin + static_cast<int64_t>(i)] = values[i];
          kept[s.offset + begin + static_cast<int64_t>(i)] = 1.0f;
        }
      }
      const at::Tensor keepers = mean_over_ranks(group, kept).clamp_min(1e-9);
      total += mean_over_ranks(group, own) / keepers;
    }
    sums.push_back(total);
  }
  return sums;
}

}  // namespace terse::testing
