#include "comm/node_slices.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace terse {
namespace {

BucketPlan plan_of(const std::vector<std::vector<int64_t>>& sizes) {
  BucketPlan plan;
  for (const auto& bucket : sizes) {
    plan.buckets.push_back({.index = static_cast<int64_t>(plan.buckets.size()), .segments = {}});
    for (const int64_t size : bucket) {
      Bucket& last = plan.buckets.back();
      const std::string name = fmt::format("b{}.s{}", last.index, last.segments.size());
      last.segments.push_back({name, last.size, size, 1, size});
      last.size += size;
    }
  }
  return plan;
}

// The least sum of squares over all ways to cut `segments` from `first` on among ranks l ...
double least(const std::vector<int64_t>& segments, size_t first, std::vector<double> owned,
             size_t l) {
  if (l + 1 == owned.size()) {
    for (size_t s = first; s < segments.size(); ++s) owned[l] += static_cast<double>(segments[s]);
    double sum = 0;
    for (const double o : owned) sum += o * o;
    return sum;
  }
  double best = std::numeric_limits<double>::infinity();
  for (size_t end = first;; ++end) {
    best = std::min(best, least(segments, end, owned, l + 1));
    if (end == segments.size()) return best;
    owned[l] += static_cast<double>(segments[end]);
  }
}

TEST(NodeSlices, WholeSegmentsAsEvenAsCanBe) {
  const std::vector<std::vector<int64_t>> sizes = {
      {500, 30, 30}, {900}, {900}, {10, 200, 10, 200, 10}, {7}, {900, 1}, {300, 300, 300, 299}};
  const BucketPlan plan = plan_of(sizes);
  for (const int64_t ranks : {1, 2, 3, 5}) {
    const auto slices = node_slices(plan, ranks, Slicing::segments);
    std::vector<double> owned(static_cast<size_t>(ranks), 0.0);
    for (size_t b = 0; b < slices.size(); ++b) {
      const double best = least(sizes[b], 0, owned, 0);
      int64_t at = 0;
      for (size_t l = 0; l < owned.size(); ++l) {
        const Range slice = slices[b][l];
        EXPECT_EQ(slice.begin, at);
        const auto begins = [&](int64_t i) {
          if (i == plan.buckets[b].size) return true;
          for (const Segment& s : plan.buckets[b].segments)
            if (s.offset == i) return true;
          return false;
        };
        EXPECT_TRUE(begins(slice.end)) << b << " " << l;
        owned[l] += static_cast<double>(slice.size());
        at = slice.end;
      }
      EXPECT_EQ(at, plan.buckets[b].size);
      double sum = 0;
      for (const double o : owned) sum += o * o;
      EXPECT_EQ(sum, best) << "bucket " << b << ", " << ranks << " ranks";
    }
  }
}

TEST(NodeSlices, LargeMatricesGoRound) {
  const auto slices = node_slices(plan_of({{100}, {100}, {100}, {100}}), 2, Slicing::segments);
  int64_t first = 0;
  for (const auto& of : slices) first += of[0].size();
  EXPECT_EQ(first, 200);
}

TEST(NodeSlices, EvenPartsAreChunks) {
  const auto slices = node_slices(plan_of({{1000}, {3}}), 3, Slicing::even);
  for (int64_t l = 0; l < 3; ++l) {
    EXPECT_EQ(slices[0][static_cast<size_t>(l)].begin, chunk_of(1000, 3, l).begin);
    EXPECT_EQ(slices[1][static_cast<size_t>(l)].size(), l == 0 ? 3 : 0);
  }
}

TEST(NodeSlices, WordsOfASliceAreItsBits) {
  const at::Tensor words = at::randint(-(int64_t{1} << 62), int64_t{1} << 62, {4}, at::kLong);
  const auto bit = [](const at::Tensor& w, int64_t i) {
    return static_cast<uint64_t>(w.const_data_ptr<int64_t>()[i / 64]) >> (i % 64) & 1u;
  };
  for (const Range range :
       {Range{0, 256}, Range{64, 200}, Range{37, 250}, Range{100, 101}, Range{130, 130}}) {
    const at::Tensor slice = slice_words(words, range);
    ASSERT_EQ(slice.numel(), (range.size() + 63) / 64);
    for (int64_t i = 0; i < range.size(); ++i)
      EXPECT_EQ(bit(slice, i), bit(words, range.begin + i)) << range.begin << " " << i;
  }
}

}  // namespace
}  // namespace terse
