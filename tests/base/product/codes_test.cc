#include "base/product/codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/half.h"
#include "base/product/product.h"

namespace terse {
namespace {

using CodesVector = std::vector<int8_t>;

CodesVector random_codes(int64_t n, int least, int most, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> code(least, most);
  CodesVector out(static_cast<size_t>(n));
  for (int8_t& q : out) q = static_cast<int8_t>(code(random));
  return out;
}

std::vector<float> random_scales(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> scale(1e-4f, 1e-1f);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& s : out) s = scale(random);
  return out;
}

struct Product {
  int64_t rows, k, n;
  CodeOffsets offsets;
  CodesVector a, w;
  std::vector<float> a_scales, w_scales;

  int64_t total(int64_t row, int64_t column) const {
    int64_t sum = 0;
    for (int64_t i = 0; i < k; ++i)
      sum += (2 * a[static_cast<size_t>(row * k + i)] + offsets.left) *
             (2 * w[static_cast<size_t>(column * k + i)] + offsets.right);
    return sum;
  }
  // The header's roundings, one by one, from the exact integer.
  uint16_t expected(int64_t row, int64_t column) const {
    const float scale = a_scales[static_cast<size_t>(row)] * w_scales[static_cast<size_t>(column)];
    return bf16_from_float(static_cast<float>(total(row, column)) * scale);
  }
  // Rows in pieces of `step`, the weight packed in two.
  std::vector<uint16_t> computed(int64_t step) const {
    std::vector<uint32_t> words(static_cast<size_t>(n * k / 4));
    std::vector<int32_t> terms(static_cast<size_t>(n));
    for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 1}, {1, n / 16}}) {
      pack_codes(w.data(), k, first, last, words.data());
      column_terms(w.data(), k, offsets, 16 * first, 16 * last, terms.data());
    }
    const CodePanels b{words.data(), terms.data(), w_scales.data(), offsets};
    std::vector<uint16_t> c(static_cast<size_t>(rows * n));
    for (int64_t r = 0; r < rows; r += step)
      multiply_codes({a.data() + r * k, a_scales.data() + r, std::min(step, rows - r)}, b, k, n,
                     c.data() + r * n);
    return c;
  }
};

Product make(int64_t rows, int64_t k, int64_t n, CodeOffsets offsets, int least, int most) {
  return {rows,
          k,
          n,
          offsets,
          random_codes(rows * k, least, most, 1),
          random_codes(n * k, least, most, 2),
          random_scales(rows, 3),
          random_scales(n, 4)};
}

class CodeProduct : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!product_available()) GTEST_SKIP() << "needs AVX512_BF16 and VNNI without AMX";
  }
};

void expect_equal(const Product& p, int64_t step) {
  const std::vector<uint16_t> c = p.computed(step);
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t o = 0; o < p.n; ++o)
      ASSERT_EQ(c[static_cast<size_t>(r * p.n + o)], p.expected(r, o)) << r << ", " << o;
}

TEST_F(CodeProduct, EqualsTheExactIntegerWithEveryOffset) {
  for (const int32_t left : {0, 1})
    for (const int32_t right : {0, 1}) {
      expect_equal(make(67, 128, 192, {left, right}, -128, 127), 67);
      expect_equal(make(13, 64, 64, {left, right}, -8, 7), 13);
      expect_equal(make(5, 64, 64, {left, right}, -1, 0), 5);
    }
}

TEST_F(CodeProduct, RowsAreTheSameWhateverTheRange) {
  const Product p = make(50, 192, 128, {1, 1}, -128, 127);
  for (const int64_t step : {1, 2, 3, 4, 5, 6, 7}) EXPECT_EQ(p.computed(50), p.computed(step));
}

// |2 q + 1| = 255 everywhere: the largest sums there are, 255^2 K = 2,130,739,200.
TEST_F(CodeProduct, LargestSumsStayInside32Bits) {
  for (const auto& [a, w] : {std::pair{-128, -128}, {127, 127}, {-128, 127}, {127, -128}}) {
    Product p = make(2, kMostCodes, 64, {1, 1}, 0, 0);
    std::fill(p.a.begin(), p.a.end(), static_cast<int8_t>(a));
    std::fill(p.w.begin(), p.w.end(), static_cast<int8_t>(w));
    ASSERT_EQ(std::abs(p.total(0, 0)), 2130739200);
    expect_equal(p, 2);
  }
}

TEST_F(CodeProduct, MoreRowsThanABlock) {
  const Product p = make(1600, 64, 64, {1, 0}, -8, 7);
  const std::vector<uint16_t> c = p.computed(1600);
  for (const int64_t row : {0, 1535, 1536, 1599})
    EXPECT_EQ(c[static_cast<size_t>(row * 64 + 7)], p.expected(row, 7)) << row;
}

TEST_F(CodeProduct, ANotANumberScaleShows) {
  Product p = make(2, 64, 64, {0, 0}, -8, 7);
  p.a_scales[1] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<uint16_t> c = p.computed(2);
  EXPECT_FALSE(std::isnan(bf16_to_float(c[0])));
  for (size_t o = 0; o < 64; ++o) EXPECT_TRUE(std::isnan(bf16_to_float(c[64 + o])));
}

}  // namespace
}  // namespace terse
