// The row kernels: every instruction set gives the bits of the scalar one; rotation against the
// dense matrix; odd shapes, zeros, NaN.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/half.h"
#include "base/isa.h"
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
                                  {Estimator::Kind::straight_through, 1.0f}};
  for (const Shape& shape : kShapes) {
    std::vector<float> x = normal(shape.rows * shape.columns, 7);
    if (x.size() > 8) x[3] = 0.0f, x[5] = -40.0f, x[6] = 1e-42f, x[7] = -0.0f;
    std::vector<uint16_t> half(x.size());
    for (size_t i = 0; i < x.size(); ++i) half[i] = bf16_from_float(x[i]);
    const RowsIn from_f32{.f32 = x.data(), .rows = shape.rows, .columns = shape.columns};
    const RowsIn from_bf16{.bf16 = half.data(), .rows = shape.rows, .columns = shape.columns};
    for (const Grid& grid : grids(shape)) {
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
    for (const Grid& grid : grids(shape)) {
      force_isa(Isa::scalar);
      const Result r = quantized(grid, {}, in);
      const CodedRows coded{.codes = r.codes.data(),
                            .scales = r.scales.data(),
                            .rows = shape.rows,
                            .columns = shape.columns,
                            .group = shape.group,
                            .offset = grid.format.offset};
      for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (!isa_supported(set)) continue;
        force_isa(set);
        std::vector<float> f32(x.size());
        std::vector<uint16_t> bf16(x.size());
        decode_rows(coded, f32.data(), bf16.data());
        EXPECT_TRUE(same_bytes(f32, r.f32)) << to_string(grid.format);
        EXPECT_TRUE(same_bytes(bf16, r.bf16)) << to_string(grid.format);
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

TEST(Kernels, SpecialRows) {
  for (const Grid& grid : grids({4, 64, 32, 0})) {
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

TEST(Kernels, ScaleIsRoundedToItsTypeAndAtLeastNormal) {
  std::vector<float> x = normal(64, 12);
  for (const ScaleType type : {ScaleType::f16, ScaleType::bf16}) {
    const Grid grid = mse_grid("half_int", 4, 0, type, 0);
    const float s = quantized(grid, {}, {.f32 = x.data(), .rows = 1, .columns = 64}).scales[0];
    EXPECT_EQ(s, type == ScaleType::f16 ? fp16_to_float(fp16_from_float(s))
                                        : bf16_to_float(bf16_from_float(s)));
    const std::vector<float> zeros(64);
    const float least =
        quantized(grid, {}, {.f32 = zeros.data(), .rows = 1, .columns = 64}).scales[0];
    EXPECT_GE(least, type == ScaleType::f16 ? 0x1p-14f : 1.17549435e-38f);
  }
}

}  // namespace
}  // namespace terse
