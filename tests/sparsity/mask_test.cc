// Masks against brute force; every instruction set gives the bits of the scalar one.
#include "sparsity/mask.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/half.h"
#include "base/isa.h"

namespace terse {
namespace {

struct Restore {
  Isa before = isa();
  ~Restore() { force_isa(before); }
};

std::vector<Isa> sets() {
  std::vector<Isa> all;
  for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa_supported(set)) all.push_back(set);
  return all;
}

std::vector<float> values(int64_t n, bool ties, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = ties ? std::rint(2 * normal(random)) : normal(random);
  return x;
}

using Bits = std::vector<uint8_t>;

Bits masked(const Pattern& pattern, const std::vector<float>& x, int64_t rows, int64_t columns) {
  Bits mask(static_cast<size_t>(rows * mask_stride(columns)), 0xff);
  EXPECT_TRUE(select_mask(pattern, x.data(), rows, columns, mask.data()));
  return mask;
}

bool bit(const Bits& mask, int64_t columns, int64_t r, int64_t c) {
  return mask[static_cast<size_t>(r * mask_stride(columns) + c / 8)] >> (c % 8) & 1;
}

// A stable sort: of equal magnitudes the lower index comes first.
Bits sorted(const std::vector<float>& x, int64_t rows, int64_t columns, int64_t keep, int64_t of) {
  Bits mask(static_cast<size_t>(rows * mask_stride(columns)));
  std::vector<int64_t> order(static_cast<size_t>(of));
  for (int64_t group = 0; group < rows * columns; group += of) {
    std::iota(order.begin(), order.end(), group);
    std::ranges::stable_sort(order, std::greater<>(),
                             [&](int64_t i) { return std::abs(x[static_cast<size_t>(i)]); });
    for (int64_t k = 0; k < keep; ++k) {
      const int64_t r = order[static_cast<size_t>(k)] / columns,
                    c = order[static_cast<size_t>(k)] % columns;
      mask[static_cast<size_t>(r * mask_stride(columns) + c / 8)] |=
          static_cast<uint8_t>(1u << (c % 8));
    }
  }
  return mask;
}

TEST(Mask, KeepsTheLargestOfEachGroup) {
  const Restore restore;
  const int64_t rows = 3;
  for (const int64_t of : {1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 24, 32, 48, 64, 128}) {
    for (const int64_t groups : {1, 3, 8}) {
      const int64_t columns = of * groups;
      for (const bool ties : {false, true}) {
        const auto x = values(rows * columns, ties, static_cast<unsigned>(of));
        for (const int64_t keep : {int64_t{1}, (of + 1) / 2, of}) {
          const Bits expected = sorted(x, rows, columns, keep, of);
          for (const Isa set : sets()) {
            force_isa(set);
            EXPECT_EQ(masked({keep, of}, x, rows, columns), expected)
                << keep << ":" << of << " " << isa_name(set) << " groups " << groups;
          }
        }
      }
    }
  }
}

// The argmax over all C(M, N) choices of the kept magnitude, as ASP has it.
TEST(Mask, KeepsTheChoiceOfLargestSum) {
  const int64_t of = 8, keep = 3, groups = 40;
  const auto x = values(of * groups, false, 3);
  const Bits mask = masked({keep, of}, x, 1, of * groups);
  for (int64_t g = 0; g < groups; ++g) {
    double best = -1, ours = 0;
    for (uint32_t choice = 0; choice < 256; ++choice) {
      if (std::popcount(choice) != keep) continue;
      double sum = 0;
      for (int64_t i = 0; i < of; ++i)
        if (choice >> i & 1) sum += std::abs(x[static_cast<size_t>(g * of + i)]);
      best = std::max(best, sum);
    }
    for (int64_t i = 0; i < of; ++i)
      if (bit(mask, of * groups, 0, g * of + i))
        ours += std::abs(x[static_cast<size_t>(g * of + i)]);
    EXPECT_EQ(ours, best);
  }
}

// praxis' golden cases of get_sparsity_mask, order R: the lowest index wins a tie.
TEST(Mask, GoldenCases) {
  const std::vector<float> x = {1, 2, 3, 4, 4, 3, 2, 1, 0, 0, 0, 0, -5, 5, -5, 5};
  EXPECT_EQ(masked({2, 4}, x, 1, 16), (Bits{0b00111100, 0b00110011}));
  EXPECT_EQ(masked({1, 4}, x, 1, 16), (Bits{0b00011000, 0b00010001}));
  EXPECT_EQ(masked({1, 16}, x, 1, 16), (Bits{0, 0b00010000}));
  const std::vector<float> signs = {0.0f, -0.0f, 1e-45f, -1e-45f};
  EXPECT_EQ(masked({1, 2}, signs, 1, 4), Bits{0b0101});
}

TEST(Mask, UnstructuredKeepsTheLargestOfTheMatrix) {
  for (const bool ties : {false, true}) {
    for (const double zeros : {0.0, 0.1, 0.5, 0.9, 0.999}) {
      const int64_t rows = 7, columns = 29, n = rows * columns;
      const auto x = values(n, ties, 5);
      const Pattern pattern{0, 0, zeros};
      const Bits mask = masked(pattern, x, rows, columns);
      EXPECT_EQ(mask, sorted(x, rows, columns, pattern.kept(n), n)) << zeros << ties;
      EXPECT_EQ(count_kept(mask.data(), rows, columns), std::llrint((1 - zeros) * n));
    }
  }
}

TEST(Mask, NaNAndInfinityAreReported) {
  const Restore restore;
  for (const Isa set : sets()) {
    force_isa(set);
    for (const Pattern& pattern :
         {Pattern{2, 4}, Pattern{3, 6}, Pattern{1, 32}, Pattern{0, 0, 0.5}})
      for (const float bad :
           {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        auto x = values(192, false, 1);
        Bits mask(24);
        EXPECT_TRUE(select_mask(pattern, x.data(), 2, 96, mask.data()));
        x[150] = bad;
        EXPECT_FALSE(select_mask(pattern, x.data(), 2, 96, mask.data())) << to_string(pattern);
      }
  }
}

TEST(Mask, BlendAndAddOnEveryInstructionSet) {
  const Restore restore;
  for (const int64_t columns : {1, 7, 8, 15, 16, 24, 40, 257}) {
    const int64_t rows = 3, n = rows * columns;
    const auto x = values(n, false, 9), start = values(n, false, 10);
    std::vector<uint16_t> half;
    for (const float v : x) half.push_back(bf16_from_float(v));
    const Bits mask = masked({0, 0, 0.6}, x, rows, columns);
    for (const float beta : {0.0f, 0.3f, 1.0f}) {
      for (const Isa set : sets()) {
        force_isa(set);
        std::vector<float> out(x.size()), sum = start;
        std::vector<uint16_t> rounded(x.size()), from_half(x.size());
        blend_rows({.f32 = x.data()}, mask.data(), beta, rows, columns,
                   {.f32 = out.data(), .bf16 = rounded.data()});
        blend_rows({.bf16 = half.data()}, mask.data(), beta, rows, columns,
                   {.bf16 = from_half.data()});
        add_pruned_rows(x.data(), mask.data(), beta, rows, columns, sum.data());
        for (int64_t i = 0; i < n; ++i) {
          const auto e = static_cast<size_t>(i);
          const bool stays = bit(mask, columns, i / columns, i % columns);
          const float expected = stays ? x[e] : beta == 0 ? 0.0f : beta * x[e];
          EXPECT_EQ(std::bit_cast<uint32_t>(out[e]), std::bit_cast<uint32_t>(expected));
          EXPECT_EQ(rounded[e], bf16_from_float(expected));
          const float widened = bf16_to_float(half[e]);
          EXPECT_EQ(from_half[e], bf16_from_float(stays       ? widened
                                                  : beta == 0 ? 0.0f
                                                              : beta * widened));
          EXPECT_EQ(sum[e], stays ? start[e] : start[e] + x[e] * beta);
        }
      }
    }
  }
}

TEST(Mask, DifferencesAreCounted) {
  const auto x = values(80, false, 1), y = values(80, false, 2);
  const Bits a = masked({2, 4}, x, 4, 20), b = masked({2, 4}, y, 4, 20);
  int64_t different = 0;
  for (int64_t r = 0; r < 4; ++r)
    for (int64_t c = 0; c < 20; ++c) different += bit(a, 20, r, c) != bit(b, 20, r, c);
  EXPECT_GT(different, 0);
  EXPECT_EQ(count_different(a.data(), b.data(), 4, 20), different);
  EXPECT_EQ(count_kept(a.data(), 4, 20), 40);
}

}  // namespace
}  // namespace terse
