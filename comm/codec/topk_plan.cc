#include "comm/codec/topk_plan.h"

#include <bit>

namespace terse {
namespace {

int64_t count_live(const uint64_t* live, Range range) {
  int64_t count = 0;
  for (int64_t i = range.begin; i < range.end;) {
    if (i % 64 == 0 && i + 64 <= range.end) {
      count += std::popcount(live[i / 64]);
      i += 64;
    } else {
      count += static_cast<int64_t>(live[i / 64] >> (i % 64) & 1);
      ++i;
    }
  }
  return count;
}

}  // namespace

TopKPlan::TopKPlan(const Bucket& bucket, std::span<const Range> parts, const TopKOptions& options,
                   std::span<const double> densities) {
  std::vector<TopKSegment> segments;
  for (size_t s = 0; s < bucket.segments.size(); ++s) {
    const Range range{bucket.segments[s].offset,
                      bucket.segments[s].offset + bucket.segments[s].size};
    if (range.size() == 0) continue;
    const int64_t k = topk_count(densities[s], range.size());
    const bool dense = densities[s] >= 1;
    segments.push_back({range, dense, most_selected(options.select, k, range.size())});
    if (dense) continue;
    ranges_.push_back(range);
    densities_.push_back(densities[s]);
    most_.push_back(k);
  }
  counts_.resize(most_.size());
  for (const Range part : parts)
    parts_.push_back(cut_topk_part(segments, part, options.bf16_values));
}

std::span<const int64_t> TopKPlan::counts(const uint64_t* live) {
  if (live == nullptr) return most_;
  for (size_t s = 0; s < ranges_.size(); ++s)
    counts_[s] = topk_count(densities_[s], count_live(live, ranges_[s]));
  return counts_;
}

}  // namespace terse
