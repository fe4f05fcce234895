#include "base/product/product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/half.h"

namespace terse {
namespace {

using Bits = std::vector<uint16_t>;

Bits random_bits(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Bits out(static_cast<size_t>(n));
  for (uint16_t& x : out) x = bf16_from_float(normal(random));
  return out;
}

double at(const Bits& m, int64_t row, int64_t column, int64_t columns) {
  return static_cast<double>(bf16_to_float(m[static_cast<size_t>(row * columns + column)]));
}

// Sum over k of a(k) b(k), and of magnitudes: an fp32 sum of k rounded terms is off by at most
// k 2^-24 times the latter.
struct Sum {
  double value = 0, bound = 0;
  void add(double a, double b) {
    value += a * b;
    bound += std::abs(a * b) * 0x1p-23;
  }
};

class Product : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!product_available()) GTEST_SKIP() << "needs AVX512_BF16 without AMX";
  }
};

std::vector<uint32_t> panels(int64_t k, int64_t n) {
  return std::vector<uint32_t>(static_cast<size_t>(panel_words(k, n)), 0xffffffffu);
}

// y = a w^T and a = y' w, for every remainder of rows by the tile's 6.
TEST_F(Product, EqualsSumsInFp64BothWays) {
  constexpr int64_t kOut = 192, kIn = 128;
  const Bits w = random_bits(kOut * kIn, 1);
  std::vector<uint32_t> transposed = panels(kIn, kOut), straight = panels(kOut, kIn);
  pack_transposed(w.data(), kIn, 0, 5, transposed.data());
  pack_transposed(w.data(), kIn, 5, kOut / 16, transposed.data());
  pack_pairs(w.data(), kOut, kIn, 0, 7, straight.data());
  pack_pairs(w.data(), kOut, kIn, 7, kOut / 2, straight.data());
  for (const int64_t rows : {1, 2, 3, 4, 5, 6, 67}) {
    const Bits x = random_bits(rows * kIn, 2), dy = random_bits(rows * kOut, 3);
    Bits y(static_cast<size_t>(rows * kOut)), dx(static_cast<size_t>(rows * kIn));
    multiply(x.data(), transposed.data(), rows, kIn, kOut, y.data());
    multiply(dy.data(), straight.data(), rows, kOut, kIn, dx.data());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < kOut; ++o) {
        Sum s;
        for (int64_t i = 0; i < kIn; ++i) s.add(at(x, r, i, kIn), at(w, o, i, kIn));
        ASSERT_NEAR(at(y, r, o, kOut), s.value, std::abs(s.value) * 0x1p-8 + s.bound * kIn);
      }
      for (int64_t i = 0; i < kIn; ++i) {
        Sum s;
        for (int64_t o = 0; o < kOut; ++o) s.add(at(dy, r, o, kOut), at(w, o, i, kIn));
        ASSERT_NEAR(at(dx, r, i, kIn), s.value, std::abs(s.value) * 0x1p-8 + s.bound * kOut);
      }
    }
  }
}

TEST_F(Product, TransposedSumsOverRowsAndAdds) {
  constexpr int64_t kM = 128, kN = 192;
  for (const int64_t k : {1, 2, 63, 64}) {
    const Bits a = random_bits(k * kM, 4), b = random_bits(k * kN, 5);
    std::vector<uint32_t> left = panels(k, kM), right = panels(k, kN);
    pack_pairs(a.data(), k, kM, 0, (k + 1) / 2, left.data());
    pack_pairs(b.data(), k, kN, 0, (k + 1) / 2, right.data());
    std::vector<float> once(kM * kN, -1.0f), twice;
    multiply_transposed(left.data(), right.data(), k, kN, 0, 6, false, once.data());
    twice = once;
    multiply_transposed(left.data(), right.data(), k, kN, 0, 2, true, twice.data());
    multiply_transposed(left.data(), right.data(), k, kN, 2, 6, true, twice.data());
    for (int64_t m = 0; m < kM; ++m)
      for (int64_t n = 0; n < kN; ++n) {
        Sum s;
        for (int64_t i = 0; i < k; ++i) s.add(at(a, i, m, kM), at(b, i, n, kN));
        const auto i = static_cast<size_t>(m * kN + n);
        ASSERT_NEAR(once[i], s.value, s.bound * static_cast<double>(k));
        ASSERT_EQ(twice[i], 2 * once[i]);
      }
  }
}

TEST_F(Product, RowsAreTheSameWhateverTheRange) {
  constexpr int64_t kRows = 50, kIn = 64, kOut = 64;
  const Bits w = random_bits(kOut * kIn, 6), x = random_bits(kRows * kIn, 7);
  std::vector<uint32_t> transposed = panels(kIn, kOut);
  pack_transposed(w.data(), kIn, 0, kOut / 16, transposed.data());
  Bits whole(kRows * kOut), parts(kRows * kOut);
  multiply(x.data(), transposed.data(), kRows, kIn, kOut, whole.data());
  for (int64_t r = 0; r < kRows; r += 7)
    multiply(x.data() + r * kIn, transposed.data(), std::min<int64_t>(7, kRows - r), kIn, kOut,
             parts.data() + r * kOut);
  EXPECT_EQ(whole, parts);
}

}  // namespace
}  // namespace terse
