#include "comm/node_slices.h"

#include <ATen/ATen.h>

#include <limits>

#include "base/error.h"

namespace terse {
namespace {

// Where each rank's segments end, given what the ranks own already: dynamic programming over
// (ranks that have taken theirs, segments that are taken).
std::vector<size_t> cuts_of(const Bucket& bucket, const std::vector<double>& owned) {
  const size_t ranks = owned.size(), count = bucket.segments.size();
  const auto begin_of = [&](size_t s) {
    return static_cast<double>(s < count ? bucket.segments[s].offset : bucket.size);
  };
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> cost(ranks + 1, std::vector<double>(count + 1, kNever));
  std::vector<std::vector<size_t>> from(ranks + 1, std::vector<size_t>(count + 1, 0));
  cost[0][0] = 0;
  for (size_t l = 0; l < ranks; ++l)
    for (size_t end = 0; end <= count; ++end)
      for (size_t begin = 0; begin <= end; ++begin) {
        const double load = owned[l] + begin_of(end) - begin_of(begin);
        const double sum = cost[l][begin] + load * load;
        if (sum < cost[l + 1][end]) cost[l + 1][end] = sum, from[l + 1][end] = begin;
      }
  std::vector<size_t> cuts(ranks, count);
  for (size_t l = ranks - 1; l > 0; --l) cuts[l - 1] = from[l + 1][cuts[l]];
  return cuts;
}

}  // namespace

std::vector<std::vector<Range>> node_slices(const BucketPlan& plan, int64_t ranks,
                                            Slicing slicing) {
  std::vector<std::vector<Range>> slices;
  std::vector<double> owned(static_cast<size_t>(ranks), 0.0);
  for (const Bucket& bucket : plan.buckets) {
    std::vector<Range>& of = slices.emplace_back();
    if (slicing == Slicing::even) {
      for (int64_t l = 0; l < ranks; ++l) of.push_back(chunk_of(bucket.size, ranks, l));
      continue;
    }
    int64_t at = 0;
    for (const size_t cut : cuts_of(bucket, owned)) {
      const int64_t end = cut < bucket.segments.size() ? bucket.segments[cut].offset : bucket.size;
      owned[of.size()] += static_cast<double>(end - at);
      of.push_back({at, end});
      at = end;
    }
  }
  return slices;
}

at::Tensor slice_words(const at::Tensor& words, Range range) {
  const int64_t n = (range.size() + 63) / 64;
  at::Tensor out = at::zeros({n}, at::kLong);
  const int64_t* from = words.const_data_ptr<int64_t>();
  int64_t* to = out.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < range.size(); ++i) {
    const int64_t bit = range.begin + i;
    const uint64_t live = static_cast<uint64_t>(from[bit / 64]) >> (bit % 64) & 1u;
    to[i / 64] |= static_cast<int64_t>(live << (i % 64));
  }
  return out;
}

}  // namespace terse
