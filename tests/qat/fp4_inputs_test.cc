// Inputs in blocks of fp4 against compressed-tensors' own code (golden/make_fp4_inputs.py): its
// presets NVFP4 and MXFP4, on tiny, large, tied and zero blocks.
#include <gtest/gtest.h>

#include <cmath>

#include "base/isa.h"
#include "export/safetensors.h"
#include "qat/input_format.h"
#include "tests/qat/rows.h"

namespace terse {
namespace {

constexpr int64_t kColumns = 128;

const SafetensorsFile& golden() {
  static const SafetensorsFile file(TERSE_SOURCE_DIR "/tests/qat/golden/fp4_inputs.safetensors");
  return file;
}

std::vector<float> values(const std::string& name) {
  const auto all = golden().require(name).as<float>();
  return {all.begin(), all.end()};
}

RowsIn rows_of(const std::vector<float>& x) {
  return {.f32 = x.data(), .rows = static_cast<int64_t>(x.size()) / kColumns, .columns = kColumns};
}

void expect_as_theirs(const std::string& name, const InputFormat& input) {
  const std::vector<float> x = values("x"), decoded = values("decoded." + name);
  const std::vector<float> scales = values("scales." + name);
  const Result r = quantized(input_grid(input, 0), {}, rows_of(x));
  ASSERT_EQ(r.scales.size(), scales.size());
  const size_t block = x.size() / scales.size();
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(r.f32[i], decoded[i]) << name << " " << i << " of " << x[i];
    // A block of zeros has 2^-127 there: fp32 that is subnormal.
    if (scales[i / block] >= 0x1p-126f) {
      ASSERT_EQ(r.scales[i / block], scales[i / block]) << name << " " << i;
    }
  }
}

TEST(Fp4Inputs, AreCompressedTensorsBitForBit) {
  const Isa before = isa();
  for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(set)) continue;
    force_isa(set);
    expect_as_theirs("nvfp4_1", nvfp4_input(1));
    expect_as_theirs("nvfp4_8", nvfp4_input(8));
    expect_as_theirs("nvfp4_1024", nvfp4_input(1024));
    expect_as_theirs("mxfp4", mxfp4_input());
  }
  force_isa(before);
}

// Of normal scales, to the largest that the second one lets be: nothing is clipped but what
// saturates.
TEST(Fp4Inputs, NoBlockClipsItsOwnValues) {
  const std::vector<float> x = normal(64 * kColumns, 52);
  std::vector<float> large = x;
  large[5] = 400.0f;  // beyond 6 x 448 / 8
  for (const InputFormat& input : {nvfp4_input(8), mxfp4_input()})
    for (const Estimator& estimator :
         {Estimator{Estimator::Kind::clip, 1.0f}, Estimator{Estimator::Kind::trust, 1.0f}}) {
      const Grid grid = input_grid(input, 0);
      const Result all = quantized(grid, estimator, rows_of(x));
      for (const uint8_t bits : all.mask) EXPECT_EQ(bits, 0xff);
      const Result r = quantized(grid, estimator, rows_of(large));
      EXPECT_EQ(r.mask[0], input.grid == "nvfp4" ? 0xff & ~(1 << 5) : 0xff);
      for (size_t i = 1; i < r.mask.size(); ++i) EXPECT_EQ(r.mask[i], 0xff);
      EXPECT_EQ(r.f32[5], input.grid == "nvfp4" ? 336.0f : 384.0f);
    }
}

TEST(Fp4Inputs, ScalesOfATokenDoNotDependOnOthers) {
  std::vector<float> x = normal(2 * kColumns, 53);
  const Result alone = quantized(input_grid(nvfp4_input(8), 0), {},
                                 {.f32 = x.data(), .rows = 1, .columns = kColumns});
  for (size_t i = kColumns; i < x.size(); ++i) x[i] *= 1e4f;
  const Result both = quantized(input_grid(nvfp4_input(8), 0), {}, rows_of(x));
  for (size_t i = 0; i < alone.f32.size(); ++i) EXPECT_EQ(alone.f32[i], both.f32[i]);
}

}  // namespace
}  // namespace terse
