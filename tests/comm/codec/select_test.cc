// Selection against sorting everything.
#include "comm/codec/select.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>
#include <limits>

#include "tests/comm/codec/buckets.h"
#include "tests/comm/codec/largest.h"

namespace terse::testing {
namespace {

struct Chosen {
  std::vector<int64_t> indices;
  std::vector<float> values;
  std::vector<float> shadow;
  bool operator==(const Chosen& other) const {
    return indices == other.indices && patterns(values) == patterns(other.values) &&
           patterns(shadow) == patterns(other.shadow);
  }
};

Chosen choose(const std::vector<float>& x, const std::vector<Range>& ranges,
              const std::vector<int64_t>& k, const SelectOptions& options = {},
              const uint64_t* live = nullptr) {
  TopKSelector selector(ranges, k, options);
  Chosen chosen;
  chosen.shadow.assign(x.size(), 99.0f);
  selector.run({.message = x.data(), .shadow = chosen.shadow.data(), .live = live}, k);
  chosen.indices.assign(selector.indices().begin(), selector.indices().end());
  chosen.values.assign(selector.values().begin(), selector.values().end());
  return chosen;
}

void expect_chosen(const std::vector<float>& x, const std::vector<Range>& ranges,
                   const std::vector<int64_t>& k, const std::vector<int64_t>& expected) {
  const Chosen got = choose(x, ranges, k);
  ASSERT_EQ(got.indices, expected);
  for (size_t e = 0; e < expected.size(); ++e)
    ASSERT_EQ(std::bit_cast<uint32_t>(got.values[e]),
              std::bit_cast<uint32_t>(x[static_cast<size_t>(expected[e])]));
  for (const Range range : ranges)
    ASSERT_EQ(std::memcmp(got.shadow.data() + range.begin, x.data() + range.begin,
                          static_cast<size_t>(range.size()) * sizeof(float)),
              0);
}

void expect_largest(const std::vector<float>& x, const std::vector<Range>& ranges,
                    const std::vector<int64_t>& k) {
  std::vector<int64_t> expected;
  for (size_t s = 0; s < ranges.size(); ++s) {
    const auto part = largest(x, ranges[s], k[s]);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  expect_chosen(x, ranges, k, expected);
}

TEST(Select, SmallRangesEveryK) {
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    for (const Shape shape : kAllShapes)
      for (const int64_t n : {1, 2, 63, 64, 65, 130, 700})
        for (const int64_t k : {int64_t{1}, int64_t{2}, n / 3, n / 2, n - 1, n}) {
          if (k < 1 || k > n) continue;
          SCOPED_TRACE(::testing::Message() << isa_name(isa) << " shape " << static_cast<int>(shape)
                                            << " n " << n << " k " << k);
          expect_largest(draw(shape, n, 1), {{0, n}}, {k});
          if (HasFatalFailure()) return;
        }
  }
}

// Long enough for samples, several slots and full ones.
TEST(Select, LongRangesOfEveryShape) {
  for (const Shape shape : kAllShapes) {
    const int64_t n = 150'007;
    const auto x = draw(shape, n, 2);
    const auto order = ranked(x, {0, n});
    for (const double density : {0.0001, 0.001, 0.02, 0.25, 0.9}) {
      const auto k = static_cast<int64_t>(density * static_cast<double>(n));
      SCOPED_TRACE(::testing::Message() << "shape " << static_cast<int>(shape) << " k " << k);
      expect_chosen(x, {{0, n}}, {k}, first_of(x, order, k));
      if (HasFatalFailure()) return;
    }
  }
}

// Many sizes, so that the sample is sometimes wrong and has to be corrected.
TEST(Select, ManySeeds) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const auto n = static_cast<int64_t>(3000 + seed * 211);
    const auto k = static_cast<int64_t>(1 + seed * seed * 7 % 2900);
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    expect_largest(draw(Shape::student, n, seed), {{0, n}}, {k});
    if (HasFatalFailure()) return;
  }
}

TEST(Select, RangesWithGapsAndTheirOwnK) {
  const std::vector<Range> ranges = {{3, 70}, {70, 71}, {100, 5000}, {5003, 140'000}};
  const auto x = draw(Shape::laplace, 140'001, 3);
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    expect_largest(x, ranges, {5, 1, 37, 2000});
  }
  // Elements outside are not touched.
  const Chosen got = choose(x, ranges, {5, 1, 37, 2000});
  for (const size_t i : {0u, 2u, 71u, 99u, 5000u, 5002u, 140'000u}) EXPECT_EQ(got.shadow[i], 99.0f);
}

TEST(Select, ResidualIsAdded) {
  const int64_t n = 10'001;
  const auto message = draw(Shape::gauss, n, 4), residual = draw(Shape::gauss, n, 5);
  std::vector<float> x(message.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = message[i] + residual[i];
  const std::vector<int64_t> k = {100};
  for (const Isa isa : supported())
    for (const bool shadowed : {true, false}) {
      const WithIsa with(isa);
      TopKSelector selector({{0, n}}, k, {});
      std::vector<float> shadow(x.size());
      selector.run({message.data(), residual.data(), shadowed ? shadow.data() : nullptr, nullptr},
                   k);
      const auto expected = largest(x, {0, n}, 100);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), selector.indices().begin(),
                             selector.indices().end()));
      for (size_t e = 0; e < expected.size(); ++e)
        EXPECT_EQ(selector.values()[e], x[static_cast<size_t>(expected[e])]);
    }
}

TEST(Select, DeadElementsAreZero) {
  const int64_t n = 9000;
  auto x = draw(Shape::gauss, n, 6);
  std::vector<uint64_t> live(static_cast<size_t>(n + 63) / 64, ~uint64_t{0});
  auto seen = x;
  for (size_t i = 0; i < x.size(); ++i)
    if (i % 5 == 0 || (i > 640 && i < 900)) {
      live[i / 64] &= ~(uint64_t{1} << (i % 64));
      x[i] = i % 2 == 0 ? 1e6f : std::numeric_limits<float>::quiet_NaN();
      seen[i] = 0;
    }
  for (const Isa isa : supported())
    for (const int64_t k : {50, 3000}) {
      const WithIsa with(isa);
      const Chosen got = choose(x, {{0, n}}, {k}, {}, live.data());
      EXPECT_EQ(got.indices, largest(seen, {0, n}, k));
      EXPECT_EQ(patterns(got.shadow), patterns(seen));
      TopKSelector without_shadow({{0, n}}, std::vector{k}, {});
      without_shadow.run({.message = x.data(), .live = live.data()}, std::vector{k});
      EXPECT_TRUE(std::equal(got.indices.begin(), got.indices.end(),
                             without_shadow.indices().begin(), without_shadow.indices().end()));
    }
}

TEST(Select, SameForEveryInstructionSetThreadCountAndAlignment) {
  const int64_t n = 150'000;
  for (const Shape shape : {Shape::gauss, Shape::constant, Shape::ascending})
    for (const SelectRule rule : {SelectRule::exact, SelectRule::sampled, SelectRule::threshold}) {
      const auto x = draw(shape, n + 1, 7);
      const SelectOptions options{.rule = rule, .threshold = 0.2f};
      const std::vector<Range> ranges = {{0, 5000}, {5000, n}};
      const std::vector<int64_t> k = {9, 2000};
      const Chosen first = choose(x, ranges, k, options);
      for (const Isa isa : supported())
        for (const int threads : {1, 2, 3}) {
          const WithIsa with(isa);
          omp_set_num_threads(threads);
          EXPECT_TRUE(choose(x, ranges, k, options) == first) << isa_name(isa) << threads;
        }
      std::vector<float> moved(x.size() + 1);  // four bytes off every boundary
      std::copy(x.begin(), x.end(), moved.begin() + 1);
      std::vector<float> shadow(x.size() + 2);
      TopKSelector selector(ranges, k, options);
      selector.run({.message = moved.data() + 1, .shadow = shadow.data() + 1}, k);
      EXPECT_TRUE(std::equal(first.indices.begin(), first.indices.end(), selector.indices().begin(),
                             selector.indices().end()));
    }
  omp_set_num_threads(omp_get_num_procs());
}

TEST(Select, ThresholdTakesAllThatReachIt) {
  const auto x = draw(Shape::gauss, 50'000, 8);
  std::vector<int64_t> expected;
  for (size_t i = 0; i < x.size(); ++i)
    if (std::abs(x[i]) >= 1.5f) expected.push_back(static_cast<int64_t>(i));
  const SelectOptions options{.rule = SelectRule::threshold, .threshold = 1.5f};
  EXPECT_EQ(choose(x, {{0, 50'000}}, {1}, options).indices, expected);
  auto tied = x;
  tied[77] = -1.5f;
  EXPECT_EQ(std::ranges::count(choose(tied, {{0, 50'000}}, {1}, options).indices, 77), 1);
}

// comm.md 6.3, 11: the official implementation misses 6.7 % of the true top-k on gaussian data,
// 19.8 % at worst.
TEST(Select, SampledFindsTheLargestAndKeepsItsCount) {
  for (const Shape shape :
       {Shape::gauss, Shape::laplace, Shape::student, Shape::sparse, Shape::constant, Shape::rows})
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      const int64_t n = 60'000;
      const auto x = draw(shape, n, seed);
      const auto order = ranked(x, {0, n});
      for (const double density : {0.001, 0.01, 0.06}) {
        const auto k = static_cast<int64_t>(density * static_cast<double>(n));
        const auto exact = first_of(x, order, k);
        const auto got = choose(x, {{0, n}}, {k}, {.rule = SelectRule::sampled}).indices;
        SCOPED_TRACE(::testing::Message() << "shape " << static_cast<int>(shape) << " k " << k);
        // A recall of 1: never fewer than k.
        EXPECT_TRUE(std::ranges::includes(got, exact));
        EXPECT_LE(static_cast<double>(got.size()), 1.3 * static_cast<double>(k));
      }
    }
}

TEST(Select, NotANumberIsTheLargest) {
  auto x = draw(Shape::gauss, 5000, 9);
  x[4321] = std::numeric_limits<float>::quiet_NaN();
  x[17] = -std::numeric_limits<float>::infinity();
  expect_largest(x, {{0, 5000}}, {2});
  EXPECT_EQ(choose(x, {{0, 5000}}, {2}).indices, (std::vector<int64_t>{17, 4321}));
}

}  // namespace
}  // namespace terse::testing
