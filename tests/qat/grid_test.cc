// The constants against an independent computation, the quantizer against the statistics of N(0, 1)
// and against the golden vector of the QuEST reference.
#include "qat/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "base/error.h"
#include "qat/quantize.h"

namespace terse {
namespace {

std::vector<double> levels(const std::string& name, int bits) {
  if (name == "ternary") return {-1, 0, 1};
  if (name == "fp4") return {-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6};
  const int half = 1 << (bits - 1);
  std::vector<double> all;
  for (int k = name == "int_symmetric" ? 1 - half : -half; k < half; ++k)
    all.push_back(name == "half_int" ? k + 0.5 : k);
  return all;
}

double density(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
}

// Probability of [a, b], from the tail that does not cancel.
double mass(double a, double b) {
  const double r = std::sqrt(0.5);
  return a >= 0 ? 0.5 * (std::erfc(a * r) - std::erfc(b * r))
                : 0.5 * (std::erfc(-b * r) - std::erfc(-a * r));
}

// Derivative of E (Q(z) - z)^2 with respect to the step, z ~ N(0, 1): at the optimum it is 0. The
// borders between cells drop out, since both neighbours err alike there.
double slope(const std::vector<double>& grid, double step) {
  double sum = 0;
  for (size_t i = 0; i < grid.size(); ++i) {
    const double a = i == 0 ? -40.0 : (grid[i - 1] + grid[i]) / 2 * step;
    const double b = i + 1 == grid.size() ? 40.0 : (grid[i] + grid[i + 1]) / 2 * step;
    sum += 2 * grid[i] * (grid[i] * step * mass(a, b) - (density(a) - density(b)));
  }
  return sum;
}

double optimum(const std::vector<double>& grid, double near) {
  double low = 0.97 * near, high = 1.03 * near;
  EXPECT_LT(slope(grid, low), 0);
  EXPECT_GT(slope(grid, high), 0);
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (slope(grid, middle) < 0 ? low : high) = middle;
  }
  return low;
}

TEST(Grid, StepsMinimiseTheSquaredError) {
  for (const std::string name : {"ternary", "fp4"}) {
    const double step = mse_step(name, fixed_bits(name));
    EXPECT_NEAR(optimum(levels(name, 0), step), step, 1e-8) << name;
  }
  for (const std::string name : {"half_int", "int_signed", "int_symmetric"}) {
    for (int bits = name == "int_symmetric" ? 2 : 1; bits <= 8; ++bits) {
      const double step = mse_step(name, bits);
      EXPECT_NEAR(optimum(levels(name, bits), step), step, 1e-8) << name << bits;
    }
  }
}

// alpha = step (n - 1) / 2 of the half-integer grid and the other steps, as published (QuEST's code
// and our reference's own recomputation, by golden section: hence 1e-7).
TEST(Grid, StepsEqualThePublishedOnes) {
  const double alpha[] = {0.7978845608, 1.4935300487, 2.0510680573, 2.5140046114,
                          2.9161512196, 3.2779847426, 3.6110973243, 3.9222042604};
  for (int bits = 1; bits <= 8; ++bits)
    EXPECT_NEAR(mse_step("half_int", bits) * ((1 << bits) - 1) / 2, alpha[bits - 1], 1e-7 * 4);
  EXPECT_NEAR(mse_step("int_signed", 4), 0.3386079308, 1e-7);
  EXPECT_NEAR(mse_step("int_symmetric", 4), 0.3534113245, 1e-7);
  EXPECT_NEAR(mse_step("int_symmetric", 2), 1.2240063591, 1e-7);
  EXPECT_NEAR(mse_step("ternary", 2), 1.2240063591, 1e-7);
  EXPECT_NEAR(mse_step("fp4", 4), 0.4870791252, 1e-7);
}

struct Expected {
  int bits;
  double error, alpha;
  // Beyond the outermost level alpha by more than half a step: 2 Q(alpha + alpha / (n - 1)).
  double untrusted() const {
    return std::erfc(alpha * (1 + 1.0 / ((1 << bits) - 1)) / std::sqrt(2.0));
  }
};
constexpr Expected kHalfInt[] = {{1, 0.36338023, 0.7978845608}, {2, 0.11884605, 1.4935300487},
                                 {3, 0.03743966, 2.0510680573}, {4, 0.01154288, 2.5140046114},
                                 {5, 0.00349521, 2.9161512196}, {6, 0.00104005, 3.2779847426},
                                 {7, 0.00030433, 3.6110973243}, {8, 0.00008769, 3.9222042604}};

struct Sample {
  std::vector<float> z, decoded;
  std::vector<int8_t> codes;
  float scale = 0;
  double error = 0, untrusted = 0;
};

Sample sampled(const Grid& grid, int64_t n) {
  Sample s;
  std::mt19937 random(5);
  std::normal_distribution<float> draw;
  s.z.resize(static_cast<size_t>(n));
  for (float& v : s.z) v = draw(random);
  s.decoded.resize(s.z.size());
  s.codes.resize(s.z.size());
  std::vector<uint8_t> mask(static_cast<size_t>(mask_stride(n)));
  quantize_rows(
      grid, {}, {.f32 = s.z.data(), .rows = 1, .columns = n},
      {.codes = s.codes.data(), .scales = &s.scale, .f32 = s.decoded.data(), .mask = mask.data()});
  int64_t kept = 0;
  for (const uint8_t byte : mask) kept += __builtin_popcount(byte);
  s.untrusted = 1.0 - static_cast<double>(kept) / static_cast<double>(n);
  for (size_t i = 0; i < s.z.size(); ++i) {
    const double d = double{s.decoded[i]} - s.z[i];
    s.error += d * d / static_cast<double>(n);
  }
  return s;
}

TEST(Grid, ErrorAndTrustOnMillionsOfGaussians) {
  for (const Expected& e : kHalfInt) {
    // At 8 bits a tenth of the error comes from the clipped values, 96 of a million.
    const int64_t samples = e.bits == 8 ? 8000000 : 1000000;
    const Sample s = sampled(mse_grid("half_int", e.bits, 0, ScaleType::f32, 0), samples);
    EXPECT_NEAR(s.error / e.error, 1.0, 0.01) << e.bits;
    // Three standard deviations of a count; never more than 5 % below 6 bits.
    const double count = e.untrusted() * static_cast<double>(samples);
    EXPECT_NEAR(s.untrusted / e.untrusted(), 1.0, 3 / std::sqrt(count)) << e.bits;
  }
  EXPECT_NEAR(sampled(mse_grid("int_signed", 4, 0, ScaleType::f32, 0), 1000000).error / 0.01186404,
              1.0, 0.01);
  EXPECT_NEAR(
      sampled(mse_grid("int_symmetric", 4, 0, ScaleType::f32, 0), 1000000).error / 0.01288939, 1.0,
      0.01);
}

// Published errors (our reference's section on constants), and what BitNet's absmean loses.
TEST(Grid, ErrorOfTernaryAndFp4) {
  const auto error = [](const Grid& grid) { return sampled(grid, 1000000).error; };
  const Grid ternary = mse_grid("ternary", 2, 0, ScaleType::f32, 0);
  EXPECT_NEAR(error(ternary) / 0.19017404, 1.0, 0.01);
  EXPECT_NEAR(error(with_rule(ternary, ScaleRule::absmean)) / 0.26338, 1.0, 0.01);
  EXPECT_NEAR(error(mse_grid("fp4", 4, 0, ScaleType::f32, 0)) / 0.01268490, 1.0, 0.01);
  // Binary: mean |z| is the best scale of any group, sqrt(2 / pi) sigma of an infinite one.
  const Grid binary = mse_grid("half_int", 1, 0, ScaleType::f32, 0);
  EXPECT_NEAR(error(with_rule(binary, ScaleRule::absmean)) / 0.36338023, 1.0, 0.01);
}

// By the definition of the two exponent rules on the largest value, and at its edges.
TEST(Grid, MxRules) {
  struct Edge {
    float largest, floored, rounded;
  };
  for (const Edge& e :
       {Edge{1.0f, 0.25f, 0.25f}, Edge{1.7499f, 0.25f, 0.25f}, Edge{1.75f, 0.25f, 0.5f},
        Edge{1.9999f, 0.25f, 0.5f}, Edge{2.0f, 0.5f, 0.5f}, Edge{0.0f, 0x1p-126f, 0x1p-126f},
        Edge{1e-40f, 0x1p-126f, 0x1p-126f}, Edge{3e38f, 0x1p125f, 0x1p126f}}) {
    for (const bool round : {false, true}) {
      const Grid grid = with_rule(mse_grid("fp4", 4, 0, ScaleType::e8m0, 0),
                                  round ? ScaleRule::mx_round : ScaleRule::mx_floor);
      const std::vector<float> z = {0.0f, -e.largest, e.largest / 3};
      float scale = 0;
      quantize_rows(grid, {}, {.f32 = z.data(), .rows = 1, .columns = 3}, {.scales = &scale});
      EXPECT_EQ(scale, round ? e.rounded : e.floored) << e.largest;
    }
  }
}

TEST(Grid, UsesEveryLevelAndNoOther) {
  for (const std::string name : {"ternary", "fp4"}) {
    const Sample s = sampled(mse_grid(name, fixed_bits(name), 0, ScaleType::f32, 0), 100000);
    std::set<float> expected;
    for (const double level : levels(name, 0)) expected.insert(static_cast<float>(level) * s.scale);
    EXPECT_EQ(std::set<float>(s.decoded.begin(), s.decoded.end()), expected) << name;
  }
  for (int bits = 1; bits <= 4; ++bits) {
    const Sample s = sampled(mse_grid("half_int", bits, 0, ScaleType::f32, 0), 100000);
    EXPECT_EQ(std::set<int8_t>(s.codes.begin(), s.codes.end()).size(), size_t{1} << bits);
    EXPECT_EQ(std::set<float>(s.decoded.begin(), s.decoded.end()).size(), size_t{1} << bits);
  }
  const Sample symmetric = sampled(mse_grid("int_symmetric", 2, 0, ScaleType::f32, 0), 100000);
  EXPECT_EQ(std::set<int8_t>(symmetric.codes.begin(), symmetric.codes.end()),
            (std::set<int8_t>{-1, 0, 1}));
}

TEST(Grid, FloorFormEqualsRoundForm) {
  const Sample s = sampled(mse_grid("half_int", 4, 0, ScaleType::f32, 0), 100000);
  double sum = 0;
  for (const float v : s.z) sum += double{v} * v;
  const double step = mse_step("half_int", 4) * std::sqrt(sum / 1e5);
  for (size_t i = 0; i < s.z.size(); ++i) {
    const double t = s.z[i] / step;
    if (std::fabs(t - std::rint(t)) < 1e-5) continue;  // a tie up to fp32
    EXPECT_EQ(s.codes[i], std::clamp(std::rint(t + 0.5) - 1.0, -8.0, 7.0));
  }
}

// sum (qa + 1/2)(qw + 1/2) = sum qa qw + (sum qa + sum qw) / 2 + K / 4: what an integer matmul on
// codes relies on.
TEST(Grid, IntegerProductIdentity) {
  const Sample a = sampled(mse_grid("half_int", 4, 0, ScaleType::f32, 0), 512);
  const Sample w = sampled(mse_grid("half_int", 8, 0, ScaleType::f32, 0), 512);
  int64_t product = 0, sum_a = 0, sum_w = 0;
  std::vector<float> x(512), y(512);
  decode_rows({a.codes.data(), &a.scale, 1, 512, 0, 0.5f, 1.0f}, x.data(), nullptr);
  decode_rows({w.codes.data(), &w.scale, 1, 512, 0, 0.5f, 1.0f}, y.data(), nullptr);
  double decoded = 0, magnitude = 0;
  for (size_t i = 0; i < 512; ++i) {
    product += int64_t{a.codes[i]} * w.codes[i];
    sum_a += a.codes[i];
    sum_w += w.codes[i];
    decoded += double{x[i]} * y[i];
    magnitude += std::fabs(double{x[i]} * y[i]);
  }
  const double codes = static_cast<double>(product) + static_cast<double>(sum_a + sum_w) / 2 + 128;
  // A decoded value is rounded once, to fp32: 2^-24 of it on either side.
  EXPECT_NEAR(decoded, double{a.scale} * w.scale * codes, magnitude * std::ldexp(1.0, -23));
  EXPECT_EQ(x, a.decoded);
  EXPECT_EQ(y, w.decoded);
}

// x_i = sin(1.7 i + 0.3)(1 + 0.5 cos(0.37 i)), rotated by one block of 128: values computed in fp64
// by an independent program. fp32 statistics agree to 1e-6.
TEST(Grid, GoldenVector) {
  std::vector<float> x(128), y(128);
  for (int i = 0; i < 128; ++i)
    x[static_cast<size_t>(i)] =
        static_cast<float>(std::sin(1.7 * i + 0.3) * (1 + 0.5 * std::cos(0.37 * i)));
  const RowsIn in{.f32 = x.data(), .rows = 1, .columns = 128};
  rotate_rows(in, nullptr, 128, y.data(), nullptr);
  EXPECT_NEAR(y[0], 0.103351371, 1e-6);
  EXPECT_NEAR(y[1], -0.046237142, 1e-6);
  EXPECT_NEAR(y[2], 0.092367574, 1e-6);
  EXPECT_NEAR(y[3], 0.928860034, 1e-6);
  struct Golden {
    int bits;
    double step;
    int masked;
    double error;
  };
  for (const Golden& g :
       {Golden{1, 1.1941793248, 12, 0.3996769766}, Golden{2, 0.7451153723, 6, 0.1826669693},
        Golden{4, 0.2508369458, 5, 0.0517833494}}) {
    // These used QuEST's own alpha, which differs from the optimum in the sixth digit.
    Grid grid = mse_grid("half_int", g.bits, 0, ScaleType::f32, 128);
    const double alpha[] = {0.7978845587140913, 1.4935346200015913, 0, 2.513930578568423};
    grid.step = static_cast<float>(2 * alpha[g.bits - 1] / ((1 << g.bits) - 1));
    std::vector<int8_t> codes(128);
    std::vector<float> decoded(128);
    std::vector<uint8_t> mask(16);
    float scale = 0;
    quantize_rows(
        grid, {}, in,
        {.codes = codes.data(), .scales = &scale, .f32 = decoded.data(), .mask = mask.data()});
    int masked = 128;
    for (const uint8_t byte : mask) masked -= __builtin_popcount(byte);
    double error = 0;
    for (size_t i = 0; i < 128; ++i)
      error += (double{decoded[i]} - y[i]) * (double{decoded[i]} - y[i]) / 128;
    EXPECT_NEAR(scale, g.step, 1e-6) << g.bits;
    EXPECT_EQ(masked, g.masked) << g.bits;
    EXPECT_NEAR(error, g.error, 1e-6) << g.bits;
    if (g.bits == 4) {
      EXPECT_EQ(std::vector<int8_t>(codes.begin(), codes.begin() + 16),
                (std::vector<int8_t>{0, -1, 0, 3, -1, -1, 0, -1, 0, -1, 1, -1, -1, -1, 0, -1}));
    }
  }
}

TEST(Grid, UnknownNamesAndBitsAreErrors) {
  EXPECT_THROW(mse_grid("half-int", 4, 0, ScaleType::f32, 0), Error);
  EXPECT_THROW(mse_grid("half_int", 9, 0, ScaleType::f32, 0), Error);
  EXPECT_THROW(mse_grid("int_symmetric", 1, 0, ScaleType::f32, 0), Error);
  EXPECT_THROW(mse_grid("ternary", 3, 0, ScaleType::f32, 0), Error);
  EXPECT_THROW(with_rule(mse_grid("fp4", 4, 0, ScaleType::f32, 0), ScaleRule::absmean), Error);
  EXPECT_THROW(parse_rule("median"), Error);
  for (const std::string& name : rule_names()) EXPECT_EQ(to_string(parse_rule(name)), name);
}

}  // namespace
}  // namespace terse
