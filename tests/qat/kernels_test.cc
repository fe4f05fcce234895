// The row kernels: every instruction set gives the bits of the scalar one; rotation against the
// dense matrix; odd shapes, zeros, NaN.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/half.h"
#include "base/isa.h"
#include "qat/lsq.h"
#include "qat/quantize.h"
#include "tests/qat/rows.h"

namespace terse {
namespace {

struct Restore {
  Isa before = isa();
  ~Restore() { force_isa(before); }
};

std::vector<Isa> vector_sets() {
  std::vector<Isa> sets;
  for (const Isa set : {Isa::avx2, Isa::avx512})
    if (isa_supported(set)) sets.push_back(set);
  return sets;
}

TEST(Kernels, EveryInstructionSetGivesTheSameBits) {
  const Restore restore;
  const Estimator estimators[] = {{Estimator::Kind::trust, 1.0f},
                                  {Estimator::Kind::clip, 1.3f},
                                  {Estimator::Kind::straight_through, 1.0f},
                                  {Estimator::Kind::lsq, 1.0f}};
  for (const Shape& shape : kShapes) {
    std::vector<float> x = normal(shape.rows * shape.columns, 7);
    if (x.size() > 8) x[3] = 0.0f, x[5] = -40.0f, x[6] = 1e-42f, x[7] = -0.0f;
    std::vector<uint16_t> half(x.size());
    for (size_t i = 0; i < x.size(); ++i) half[i] = bf16_from_float(x[i]);
    const RowsIn from_f32{.f32 = x.data(), .rows = shape.rows, .columns = shape.columns};
    const RowsIn from_bf16{.bf16 = half.data(), .rows = shape.rows, .columns = shape.columns};
    for (const Grid& grid : all_grids(shape)) {
      for (const Estimator& estimator : estimators) {
        for (const RowsIn& in : {from_f32, from_bf16}) {
          force_isa(Isa::scalar);
          const Result reference = quantized(grid, estimator, in);
          for (const Isa set : vector_sets()) {
            force_isa(set);
            const Result r = quantized(grid, estimator, in);
            const std::string what = to_string(grid.format) + " " + isa_name(set) + " columns " +
                                     std::to_string(shape.columns);
            EXPECT_TRUE(same_bytes(r.codes, reference.codes)) << what;
            EXPECT_TRUE(same_bytes(r.scales, reference.scales)) << what;
            EXPECT_TRUE(same_bytes(r.f32, reference.f32)) << what;
            EXPECT_TRUE(same_bytes(r.bf16, reference.bf16)) << what;
            EXPECT_TRUE(same_bytes(r.mask, reference.mask)) << what;
            EXPECT_EQ(r.tensor_scale, reference.tensor_scale) << what;
          }
        }
      }
    }
  }
}

TEST(Kernels, DecodeGivesTheBitsThatEncodeWrote) {
  const Restore restore;
  for (const Shape& shape : kShapes) {
    const std::vector<float> x = normal(shape.rows * shape.columns, 8);
    const RowsIn in{.f32 = x.data(), .rows = shape.rows, .columns = shape.columns};
    for (const Grid& grid : all_grids(shape)) {
      force_isa(Isa::scalar);
      const Result r = quantized(grid, {}, in);
      for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (!isa_supported(set)) continue;
        force_isa(set);
        std::vector<float> f32(x.size());
        std::vector<uint16_t> bf16(x.size());
        decode_rows(coded(grid, r, shape.rows, shape.columns), f32.data(), bf16.data());
        EXPECT_TRUE(same_bytes(f32, r.f32)) << to_string(grid.format);
        EXPECT_TRUE(same_bytes(bf16, r.bf16)) << to_string(grid.format);
      }
    }
  }
}

// Given steps: codes and masks as with the same scales computed, and the sums of a step's gradient,
// in every instruction set; the sums against fp64.
TEST(Kernels, GivenStepsAndTheirGradients) {
  const Restore restore;
  for (const Shape& shape : kShapes) {
    const std::vector<float> x = normal(shape.rows * shape.columns, 17);
    const std::vector<float> d = normal(shape.rows * shape.columns, 18);
    const RowsIn in{.f32 = x.data(), .rows = shape.rows, .columns = shape.columns};
    const RowsIn gradient{.f32 = d.data(), .rows = shape.rows, .columns = shape.columns};
    for (const Grid& computed : grids(shape)) {
      if (computed.rule != ScaleRule::rms || computed.format.grid == "fp4") continue;
      Grid given = computed;
      given.rule = ScaleRule::learned;
      const Estimator lsq{Estimator::Kind::lsq, 1.0f};
      force_isa(Isa::scalar);
      const Result reference = quantized(computed, lsq, in);
      std::vector<float> expected;
      for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (!isa_supported(set)) continue;
        force_isa(set);
        Result r = reference;
        std::fill(r.codes.begin(), r.codes.end(), int8_t{99});
        quantize_rows(given, lsq, in,
                      {.codes = r.codes.data(), .scales = r.scales.data(), .mask = r.mask.data()});
        EXPECT_TRUE(same_bytes(r.codes, reference.codes));
        EXPECT_TRUE(same_bytes(r.mask, reference.mask));
        EXPECT_TRUE(same_bytes(r.scales, reference.scales));
        std::vector<float> sums(r.scales.size());
        step_gradient_rows({.z = in,
                            .d = gradient,
                            .codes = r.codes.data(),
                            .mask = r.mask.data(),
                            .scales = r.scales.data(),
                            .format = &given.format},
                           sums.data());
        if (expected.empty()) expected = sums;
        EXPECT_TRUE(same_bytes(sums, expected)) << isa_name(set);
      }
      std::vector<float> z(x.size());
      rotate_rows(in, nullptr, given.format.hadamard, z.data(), nullptr);
      const int64_t size = given.format.group == 0 ? shape.columns : given.format.group;
      for (size_t k = 0; k < expected.size(); ++k) {
        double sum = 0, most = 0;
        for (size_t i = k * static_cast<size_t>(size); i < (k + 1) * static_cast<size_t>(size);
             ++i) {
          const double place = double{z[i]} / reference.scales[k], offset = given.format.offset;
          const double level = reference.codes[i] + offset;
          const bool inside =
              place >= given.format.code_min + offset && place <= given.format.code_max + offset;
          sum += d[i] * (level - (inside ? place : 0));
          most += std::fabs(d[i] * level);
        }
        EXPECT_NEAR(expected[k], sum, 1e-5 * most + 1e-6);
      }
    }
  }
}

// Sylvester's matrix from its definition: entry (i, j) has the sign of (-1)^popcount(i & j).
std::vector<double> dense_rotation(const std::vector<float>& x, int64_t block) {
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t start = i / static_cast<size_t>(block) * static_cast<size_t>(block);
    for (size_t j = 0; j < static_cast<size_t>(block); ++j)
      y[i] += (__builtin_popcountll((i - start) & j) & 1 ? -1.0 : 1.0) * x[start + j];
    y[i] /= std::sqrt(static_cast<double>(block));
  }
  return y;
}

TEST(Rotation, EqualsTheDenseMatrixAndUndoesItself) {
  const Restore restore;
  for (const int64_t block : {2, 8, 16, 32, 64, 128, 256}) {
    const std::vector<float> x = normal(2 * 256, 9);
    const std::vector<double> dense = dense_rotation(x, block);
    for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!isa_supported(set)) continue;
      force_isa(set);
      std::vector<float> once(x.size()), twice(x.size());
      rotate_rows({.f32 = x.data(), .rows = 2, .columns = 256}, nullptr, block, once.data(),
                  nullptr);
      rotate_rows({.f32 = once.data(), .rows = 2, .columns = 256}, nullptr, block, twice.data(),
                  nullptr);
      // log2(block) additions and one product, each rounded: a few units of 6e-8 of sizes up to 4.
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_NEAR(once[i], dense[i], 4e-6) << block;
        EXPECT_NEAR(twice[i], x[i], 4e-6) << block;
      }
    }
  }
}

TEST(Rotation, KeepsOnlyMaskedColumns) {
  const Restore restore;
  const int64_t columns = 37;
  const std::vector<float> x = normal(2 * columns, 10);
  std::vector<uint8_t> mask(static_cast<size_t>(2 * mask_stride(columns)));
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<uint8_t>(37 * i + 11);
  for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(set)) continue;
    force_isa(set);
    std::vector<float> out(x.size());
    rotate_rows({.f32 = x.data(), .rows = 2, .columns = columns}, mask.data(), 0, out.data(),
                nullptr);
    for (int64_t i = 0; i < 2 * columns; ++i) {
      const int64_t r = i / columns, c = i % columns;
      const bool on = mask[static_cast<size_t>(r * mask_stride(columns) + c / 8)] >> (c % 8) & 1;
      EXPECT_EQ(out[static_cast<size_t>(i)], on ? x[static_cast<size_t>(i)] : 0.0f);
    }
  }
}

TEST(Rotation, LargestBlockThatFits) {
  EXPECT_EQ(fitting_block(256), 128);
  EXPECT_EQ(fitting_block(96), 32);
  EXPECT_EQ(fitting_block(37), 1);
}

TEST(Kernels, NotANumberPoisonsItsGroupOnly) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), -HUGE_VALF}) {
    for (const Grid& grid : grids({2, 64, 32, 0})) {
      std::vector<float> x = normal(2 * 64, 11);
      x[40] = bad;
      const Result r = quantized(grid, {}, {.f32 = x.data(), .rows = 2, .columns = 64});
      EXPECT_TRUE(std::isnan(r.scales[1])) << to_string(grid.format);
      for (size_t i = 0; i < x.size(); ++i)
        EXPECT_EQ(std::isnan(r.f32[i]), i >= 32 && i < 64) << to_string(grid.format) << " " << i;
      for (const int8_t code : r.codes) EXPECT_GE(code, grid.format.code_min);
    }
  }
}

TEST(Kernels, NotANumberPoisonsATensorThatSharesItsScale) {
  for (const Grid& grid : tensor_grids({2, 64, 32, 0})) {
    std::vector<float> x = normal(2 * 64, 11);
    x[40] = HUGE_VALF;
    const Result r = quantized(grid, {}, {.f32 = x.data(), .rows = 2, .columns = 64});
    for (const float value : r.f32) EXPECT_TRUE(std::isnan(value)) << to_string(grid.format);
    for (const float scale : r.scales) EXPECT_TRUE(std::isnan(scale)) << to_string(grid.format);
  }
}

TEST(Kernels, SpecialRows) {
  std::vector<Grid> separate = grids({4, 64, 32, 0});
  separate.push_back(tensor_grids({4, 64, 32, 0}).back());
  for (const Grid& grid : separate) {
    std::vector<float> x(4 * 64, 0.0f);
    for (size_t i = 64; i < 128; ++i) x[i] = 0.25f;  // constant
    x[130] = 1000.0f;                                // one outlier
    for (size_t i = 192; i < 256; ++i) x[i] = 1e-40f;
    const Result r = quantized(grid, {}, {.f32 = x.data(), .rows = 4, .columns = 64});
    // Zeros stay small and all trusted: a projection that starts at zero must get a gradient.
    for (size_t i = 0; i < 64; ++i) EXPECT_LT(std::fabs(r.f32[i]), 1e-4f);
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(r.mask[i], 0xff) << to_string(grid.format);
    for (const float scale : r.scales) EXPECT_TRUE(std::isfinite(scale));
    for (const int8_t code : r.codes) {
      EXPECT_GE(code, grid.format.code_min);
      EXPECT_LE(code, grid.format.code_max);
    }
  }
}

// Of every rule on every type: a number of the type, never below the smallest normal one.
TEST(Kernels, ScaleIsRoundedToItsTypeAndAtLeastNormal) {
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16, ScaleType::f16_7bit,
                               ScaleType::e8m0, ScaleType::e4m3}) {
    for (const float sigma : {0.0f, 1e-30f, 1e-5f, 0.02f, 1.0f, 37.0f}) {
      std::vector<float> x = normal(64 * 16, 12, sigma);
      for (const ScaleRule rule : {ScaleRule::rms, ScaleRule::absmax, ScaleRule::mx_round}) {
        const Grid grid = with_rule(mse_grid("fp4", 4, 16, type, 0), rule);
        const Result r = quantized(grid, {}, {.f32 = x.data(), .rows = 16, .columns = 64});
        for (const float scale : r.scales) {
          EXPECT_TRUE(representable(scale, type)) << scale << to_string(type);
          EXPECT_GE(scale, smallest_normal(type)) << to_string(type) << to_string(rule);
        }
        if (type != ScaleType::e4m3) {
          EXPECT_EQ(r.tensor_scale, 1.0f);
        }
      }
    }
  }
}

// Codes follow from the file's scale alone: quantizing with that scale given finds them again.
TEST(Kernels, CodesComeFromTheRoundedScale) {
  const Shape shape{5, 256, 32, 0};
  const std::vector<float> x = normal(5 * 256, 17);
  const RowsIn in{.f32 = x.data(), .rows = 5, .columns = 256};
  for (const Grid& grid : all_grids(shape)) {
    if (grid.ggml) continue;
    const Result r = quantized(grid, {}, in);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t group = grid.format.group < 0 ? 0 : i / 32;
      const double scale = double{r.scales[group]} * r.tensor_scale * grid.format.unit;
      const double error = std::fabs(x[i] - double{r.f32[i]}), step = scale;
      const double least = (grid.format.code_min + double{grid.format.offset}) * scale;
      const double most = (grid.format.code_max + double{grid.format.offset}) * scale;
      const double gap = grid.format.grid == "fp4" ? 4 : 1;
      // Inside the grid no value is further than half a gap from its level, but for what fp32 makes
      // of the quotient and of the decoded product: half a unit in the 24th bit of up to 128 each.
      if (x[i] > least && x[i] < most) {
        EXPECT_LE(error, step * gap * 0.5 + std::ldexp(128.0, -23) * scale)
            << to_string(grid.format);
      }
    }
  }
}

// The nearest of the eight sizes, ties to the even mantissa, against a search over all levels.
TEST(Kernels, Fp4IsTheNearestLevel) {
  const Restore restore;
  Grid grid = mse_grid("fp4", 4, 0, ScaleType::f32, 0);
  grid.rule = ScaleRule::learned;
  constexpr int kSizes[] = {0, 1, 2, 3, 4, 6, 8, 12};
  std::vector<float> x;
  for (int i = -1000; i <= 1000; ++i) x.push_back(static_cast<float>(i) / 128.0f);
  x.push_back(1e30f);
  x.push_back(-0.0f);
  for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(set)) continue;
    force_isa(set);
    std::vector<int8_t> codes(x.size());
    std::vector<float> decoded(x.size());
    float one = 1.0f;
    quantize_rows(grid, {}, {.f32 = x.data(), .rows = 1, .columns = static_cast<int64_t>(x.size())},
                  {.codes = codes.data(), .scales = &one, .f32 = decoded.data()});
    for (size_t i = 0; i < x.size(); ++i) {
      int best = 0;
      for (int k = 1; k < 8; ++k) {
        const double size = std::min(std::fabs(2.0 * x[i]), 12.0);  // beyond it the largest
        const double so_far = std::fabs(size - kSizes[best]);
        const double here = std::fabs(size - kSizes[k]);
        if (here < so_far || (here == so_far && k % 2 == 0)) best = k;
      }
      EXPECT_EQ(codes[i], x[i] < 0 ? -kSizes[best] : kSizes[best]) << x[i];
      EXPECT_EQ(decoded[i], 0.5f * static_cast<float>(codes[i]));
      EXPECT_FALSE(decoded[i] == 0.0f && std::signbit(decoded[i])) << x[i];
    }
  }
}

// Second scale of NVFP4: a power of two, the least with which the largest block's scale fits.
TEST(Kernels, SecondScaleIsTheLeastThatFits) {
  const Grid grid = with_rule(mse_grid("fp4", 4, 16, ScaleType::e4m3, 0), ScaleRule::absmax);
  for (int power = -12; power < 12; ++power) {
    const auto size = static_cast<float>(std::pow(10.0, power));
    std::vector<float> x = normal(4 * 64, 3, size);
    const Result r = quantized(grid, {}, {.f32 = x.data(), .rows = 4, .columns = 64});
    int exponent = 0;
    EXPECT_EQ(std::frexp(r.tensor_scale, &exponent), 0.5f);
    float most = 0;
    for (const float v : x) most = std::max(most, std::fabs(v));
    EXPECT_LE(most / 6 / r.tensor_scale, 448.0f);
    EXPECT_GT(most / 6 / r.tensor_scale, 224.0f);
  }
}

// What BitNet's paper says: gamma = mean |w| of the whole matrix, round(w / gamma) in {-1, 0, 1}.
TEST(Kernels, OneScaleForTheTensor) {
  const Grid grid = with_rule(mse_grid("ternary", 2, -1, ScaleType::f32, 0), ScaleRule::absmean);
  const std::vector<float> x = normal(6 * 80, 4);
  const Result r = quantized(grid, {}, {.f32 = x.data(), .rows = 6, .columns = 80});
  double mean = 0;
  for (const float v : x) mean += std::fabs(double{v}) / 480;
  ASSERT_EQ(r.scales.size(), 1u);
  EXPECT_NEAR(r.scales[0], mean, 1e-6);  // an fp32 sum of 480
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_EQ(r.codes[i], std::clamp(std::nearbyint(x[i] / r.scales[0]), -1.0f, 1.0f));
}

}  // namespace
}  // namespace terse
