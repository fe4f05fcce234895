// Residuals over a change of the number of ranks: what future averages still owe stays the same.
#include "comm/residual.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/codec/codec.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

const BucketPlan kPlan = plan_of({{300, 5, 1000}, {70}});

// The states that N ranks saved, as rank `self` of a new run sees them.
class SavedRanks final : public StateReader {
 public:
  explicit SavedRanks(int64_t ranks) : states_(static_cast<size_t>(ranks)) {}
  MemoryState& of(int64_t rank) { return states_[static_cast<size_t>(rank)]; }
  int64_t self = 0;

  int64_t saved_ranks() const override { return static_cast<int64_t>(states_.size()); }
  std::optional<TensorView> tensor(Scope scope, std::string_view name,
                                   int64_t rank) const override {
    return states_.at(static_cast<size_t>(rank < 0 ? self : rank)).tensor(scope, name, -1);
  }
  std::optional<int64_t> integer(Scope, std::string_view) const override { return {}; }
  std::optional<double> number(Scope, std::string_view) const override { return {}; }
  std::optional<std::string> text(Scope, std::string_view) const override { return {}; }

 private:
  std::vector<MemoryState> states_;
};

std::vector<Range> whole() {
  return {{0, 1305}, {0, 70}};
}

std::vector<Range> chunks_of_rank(int64_t ranks, int64_t rank) {
  return {chunk_of(1305, ranks, rank), chunk_of(70, ranks, rank)};
}

// A residual of N ranks filled with values that name rank and element, saved.
enum class Kind { worker, server };
SavedRanks saved(Kind kind, int64_t ranks) {
  SavedRanks all(ranks);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const auto ranges = kind == Kind::worker ? whole() : chunks_of_rank(ranks, rank);
    Residual residual("r");
    residual.attach(kPlan, ranges, at::kCPU);
    for (int64_t b = 0; b < 2; ++b) {
      const Range range = ranges[static_cast<size_t>(b)];
      const int64_t lead = kind == Kind::worker ? 10000 * rank : 0;
      residual.shadow(b).copy_(at::arange(range.begin, range.end) + lead + 5000 * b);
    }
    residual.commit();
    residual.save(all.of(rank));
  }
  return all;
}

TEST(Residual, SameNumberOfRanksIsBitwise) {
  SavedRanks all = saved(Kind::server, 3);
  for (all.self = 0; all.self < 3; ++all.self) {
    Residual residual("r");
    const auto ranges = chunks_of_rank(3, all.self);
    residual.attach(kPlan, ranges, at::kCPU);
    residual.load(all, true);
    EXPECT_TRUE(
        at::equal(residual.current(0), at::arange(ranges[0].begin, ranges[0].end).to(at::kFloat)));
  }
}

TEST(Residual, WorkersGetTheMean) {
  SavedRanks all = saved(Kind::worker, 4);
  Residual residual("r");
  residual.attach(kPlan, whole(), at::kCPU);
  residual.load(all, false);
  EXPECT_TRUE(at::equal(residual.current(0), at::arange(0, 1305).to(at::kFloat) + 15000));
  EXPECT_TRUE(at::equal(residual.current(1), at::arange(0, 70).to(at::kFloat) + 20000));
}

TEST(Residual, ServersAreCutAnew) {
  for (const int64_t before : {1, 2, 3, 5})
    for (const int64_t after : {1, 2, 4, 7}) {
      SavedRanks all = saved(Kind::server, before);
      for (int64_t rank = 0; rank < after; ++rank) {
        if (before == after) continue;
        Residual residual("r");
        const auto ranges = chunks_of_rank(after, rank);
        residual.attach(kPlan, ranges, at::kCPU);
        residual.load(all, false);
        for (int64_t b = 0; b < 2; ++b) {
          const Range range = ranges[static_cast<size_t>(b)];
          EXPECT_TRUE(at::equal(residual.current(b),
                                (at::arange(range.begin, range.end) + 5000 * b).to(at::kFloat)))
              << before << " to " << after << " rank " << rank;
        }
      }
    }
}

TEST(Residual, AMissingOneIsAnError) {
  const SavedRanks empty(2);
  for (const auto kind : {Kind::worker, Kind::server})
    for (const int64_t ranks : {2, 3}) {
      Residual residual("r");
      residual.attach(kPlan, kind == Kind::worker ? whole() : chunks_of_rank(ranks, 0), at::kCPU);
      EXPECT_THROW(residual.load(empty, ranks == 2), Error);
    }
}

// Two nodes of two ranks, each rank with its node's residual of one slice of every bucket.
TEST(Residual, SlicesOfNodesBecomeTheirMean) {
  SavedRanks all(4);
  for (int64_t rank = 0; rank < 4; ++rank) {
    const int64_t node = rank / 2, local = rank % 2;
    BucketPlan slices;
    std::vector<Range> ranges;
    for (const Bucket& bucket : kPlan.buckets) {
      const Range slice = chunk_of(bucket.size, 2, local);
      slices.buckets.push_back(slice_bucket(bucket, slice));
      ranges.push_back({0, slice.size()});
    }
    Residual residual("r");
    residual.attach(slices, ranges, at::kCPU);
    for (int64_t b = 0; b < 2; ++b) {
      const Range slice = chunk_of(kPlan.buckets[static_cast<size_t>(b)].size, 2, local);
      residual.shadow(b).copy_(at::arange(slice.begin, slice.end) + 100 * node);
    }
    residual.commit();
    residual.save(all.of(rank));
  }
  Residual residual("r");
  residual.attach(kPlan, whole(), at::kCPU);
  residual.load(all, false);
  EXPECT_TRUE(at::equal(residual.current(0), at::arange(0, 1305).to(at::kFloat) + 50));
  EXPECT_TRUE(at::equal(residual.current(1), at::arange(0, 70).to(at::kFloat) + 50));
}

}  // namespace
}  // namespace terse::testing
