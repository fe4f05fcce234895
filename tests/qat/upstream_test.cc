// The quantizers that others publish, run from their own code on the same tensors
// (tests/peers/quantizers.py made golden/quantizers.safetensors): QuEST's source,
// compressed-tensors, torchao, gguf-py.
#include <gtest/gtest.h>

#include <cmath>

#include "export/safetensors.h"
#include "qat/input_format.h"
#include "tests/qat/rows.h"

namespace terse {
namespace {

constexpr int64_t kColumns = 256;

const SafetensorsFile& golden() {
  static const SafetensorsFile file(TERSE_SOURCE_DIR "/tests/qat/golden/quantizers.safetensors");
  return file;
}

std::vector<float> values(const std::string& name) {
  const auto all = golden().require(name).as<float>();
  return {all.begin(), all.end()};
}

RowsIn rows_of(const std::vector<float>& x) {
  return {.f32 = x.data(), .rows = static_cast<int64_t>(x.size()) / kColumns, .columns = kColumns};
}

// QuEST's own optimal scales, of which the constants here differ in the fourth to sixth digit.
Grid quest_grid(int bits, int64_t hadamard) {
  constexpr double kAlpha[] = {0.7978845587140913, 1.4935346200015913, 2.051068354131873,
                               2.513930578568423,  2.9160938834961225, 3.276597282593217,
                               3.6010497188221655, 3.884938678807525};
  Grid grid = mse_grid("half_int", bits, 0, ScaleType::f32, hadamard);
  grid.step = static_cast<float>(2 * kAlpha[bits - 1] / ((1 << bits) - 1));
  return grid;
}

// What flows back from g through our mask and rotation.
std::vector<float> gradient(const Grid& grid, const Result& r, const std::vector<float>& g) {
  std::vector<float> out(g.size());
  rotate_rows(rows_of(g), r.mask.data(), grid.format.hadamard, out.data(), nullptr);
  return out;
}

void expect_as_quest(const std::string& name, const Grid& grid, const Estimator& estimator) {
  const std::vector<float> x = values("x"), g = values("g");
  const std::vector<float> decoded = values("quest." + name + ".decoded");
  const std::vector<float> theirs = values("quest." + name + ".gradient");
  const Result r = quantized(grid, estimator, rows_of(x));
  const std::vector<float> ours = gradient(grid, r, g);
  for (size_t i = 0; i < x.size(); ++i) {
    // Theirs is round(z / step + 1/2) step - step / 2: three roundings of fp32 on values up to 2^b
    // steps, and with the rotation a matrix product of 128.
    const float step = r.scales[i / kColumns];
    ASSERT_NEAR(r.f32[i], decoded[i], step * 1e-3f) << name << " " << i;
    // d or 0, and under the rotation sums of 128 such.
    ASSERT_NEAR(ours[i], theirs[i], grid.format.hadamard == 0 ? 0 : 1e-5) << name << " " << i;
  }
}

TEST(Upstream, QuestTrustClipAndStraightThrough) {
  for (int bits = 1; bits <= 8; ++bits) {
    const std::string b = std::to_string(bits);
    expect_as_quest("ste" + b, quest_grid(bits, 0), {Estimator::Kind::straight_through, 1.0f});
    expect_as_quest("trust" + b, quest_grid(bits, 0), {Estimator::Kind::trust, 1.0f});
    expect_as_quest("clip" + b, quest_grid(bits, 0), {Estimator::Kind::clip, 1.3f});
    expect_as_quest("hadamard_trust" + b, quest_grid(bits, 128), {Estimator::Kind::trust, 1.0f});
  }
}

TEST(Upstream, QuestFp4) {
  Grid grid = mse_grid("fp4", 4, 0, ScaleType::f32, 0);
  grid.step = 0.48707976f;
  expect_as_quest("fp4", grid, {Estimator::Kind::trust, 1.0f});
}

void expect_as_compressed_tensors(const std::string& name, const Grid& grid, float tensor_scale) {
  const std::vector<float> x = values("x");
  const std::vector<float> scales = values("compressed." + name + ".scales");
  const std::vector<float> codes = values("compressed." + name + ".codes");
  std::vector<float> ours(scales.size());
  std::vector<int8_t> made(x.size());
  quantize_rows(grid, {}, rows_of(x),
                {.codes = made.data(), .scales = ours.data(), .tensor_scale = tensor_scale});
  const size_t group = x.size() / scales.size();
  size_t compared = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (scales[i / group] < smallest_normal(grid.format.scale_type)) continue;
    ++compared;
    ASSERT_EQ(ours[i / group], scales[i / group]) << name << " " << i;
    const float code = static_cast<float>(made[i]) * grid.format.unit;
    if (code == codes[i]) continue;
    // A quotient here is a product with the inverse, there a division: ties may fall either way.
    ASSERT_NE(grid.rounding, Rounding::quotient) << name << " " << i;
    const double quotient = std::fabs(static_cast<double>(x[i]) / scales[i / group]);
    ASSERT_NEAR(quotient - std::floor(quotient), 0.5, 1e-6) << name << " " << i;
    ASSERT_EQ(std::fabs(code - codes[i]), 1.0f) << name << " " << i;
  }
  EXPECT_GT(compared, x.size() / 2);
}

TEST(Upstream, CompressedTensors) {
  const auto absmax = [](const char* name, int bits, int64_t group, ScaleType type) {
    return with_rule(mse_grid(name, bits, group, type, 0), ScaleRule::absmax);
  };
  expect_as_compressed_tensors("int4", absmax("int_signed", 4, 32, ScaleType::f32), 1.0f);
  expect_as_compressed_tensors("int8", absmax("int_signed", 8, 0, ScaleType::f32), 1.0f);
  expect_as_compressed_tensors(
      "mxfp4", with_rule(mse_grid("fp4", 4, 32, ScaleType::e8m0, 0), ScaleRule::mx_round), 1.0f);
  expect_as_compressed_tensors("nvfp4", absmax("fp4", 4, 16, ScaleType::e4m3), 4.0f);
}

// As inputs are rounded: every code is theirs.
TEST(Upstream, CompressedTensorsInputs) {
  expect_as_compressed_tensors("int8", input_grid({.bits = 8}, 0), 1.0f);
  Grid four = input_grid({.bits = 4}, 0);
  four.format.group = 32;
  expect_as_compressed_tensors("int4", four, 1.0f);
}

TEST(Upstream, GgufMxfp4) {
  const std::vector<float> x = values("x");
  const auto bytes = golden().require("gguf.mxfp4").as<uint8_t>();
  const Result r = quantized(
      with_rule(mse_grid("fp4", 4, 32, ScaleType::e8m0, 0), ScaleRule::mx_floor), {}, rows_of(x));
  constexpr int kSizes[] = {0, 1, 2, 3, 4, 6, 8, 12};
  for (size_t b = 0; b < x.size() / 32; ++b) {
    EXPECT_EQ(r.scales[b], std::ldexp(1.0f, bytes[b * 17] - 127));
    for (size_t j = 0; j < 32; ++j) {
      const int nibble = bytes[b * 17 + 1 + j % 16] >> (j < 16 ? 0 : 4) & 15;
      EXPECT_EQ(r.codes[b * 32 + j], kSizes[nibble & 7] * (nibble & 8 ? -1 : 1)) << b << " " << j;
    }
  }
}

TEST(Upstream, GgufTq2_0) {
  const std::vector<float> x = values("x");
  const auto bytes = golden().require("gguf.tq2_0").as<uint8_t>();
  Grid grid = with_rule(mse_grid("ternary", 2, 256, ScaleType::f16, 0), ScaleRule::absmax);
  grid.rounding = Rounding::half_away;
  grid.ggml = true;
  const Result r = quantized(grid, {}, rows_of(x));
  for (size_t b = 0; b < x.size() / 256; ++b)
    for (size_t i = 0; i < 256; ++i) {
      const size_t byte = i / 128 * 32 + i % 32, shift = i % 128 / 32 * 2;
      EXPECT_EQ(r.codes[b * 256 + i], (bytes[b * 66 + byte] >> shift & 3) - 1) << i;
    }
}

TEST(Upstream, BitnetOfTorchao) {
  const std::vector<float> x = values("x"), w = values("bitnet.w");
  const Result weight = quantized(
      with_rule(mse_grid("ternary", 2, -1, ScaleType::f32, 0), ScaleRule::absmean), {}, rows_of(w));
  // Sums of 12,288 in another order.
  EXPECT_NEAR(weight.scales[0] / values("bitnet.scale")[0], 1.0f, 1e-6f);
  const auto codes = golden().require("bitnet.codes").as<int8_t>();
  for (size_t i = 0; i < w.size(); ++i) ASSERT_EQ(weight.codes[i], codes[i]) << i;

  const Result input =
      quantized(with_rule(mse_grid("int_symmetric", 8, 0, ScaleType::f32, 0), ScaleRule::absmax),
                {}, rows_of(x));
  EXPECT_EQ(input.scales, values("bitnet.x.scales"));
  const auto eight = golden().require("bitnet.x.codes").as<int8_t>();
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(input.codes[i], eight[i]) << i;
}

}  // namespace
}  // namespace terse
