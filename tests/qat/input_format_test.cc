// What a layer does to its input, as data: text and back, the grid it names, and that the grid is
// the one that training plans.
#include "qat/input_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "qat/plan.h"
#include "tests/qat/rows.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

const InputFormat kQuest{.bits = 4, .rule = ScaleRule::rms, .grid = "half_int"};
const InputFormat kFixed{.bits = 8, .scale = 0.1f};

TEST(InputFormat, TextAndBack) {
  EXPECT_EQ(to_string(InputFormat{}), "int_signed b8 absmax");
  EXPECT_EQ(to_string(kQuest), "half_int b4 rms");
  EXPECT_EQ(to_string(kFixed), "int_signed b8 at 0.1");
  EXPECT_EQ(to_string(nvfp4_input(8)), "nvfp4 b4 absmax global 8");
  EXPECT_EQ(to_string(mxfp4_input()), "mxfp4 b4 mx_round");
  for (const InputFormat& input :
       {InputFormat{}, kQuest, kFixed, InputFormat{.bits = 2, .scale = 1e-30f, .grid = "half_int"},
        InputFormat{.bits = 4, .rule = ScaleRule::rms, .grid = "fp4"}, nvfp4_input(0x1p-20f),
        nvfp4_input(1), nvfp4_input(0x1p20f), mxfp4_input(),
        InputFormat{.bits = 4, .rule = ScaleRule::mx_floor, .grid = "mxfp4"}})
    EXPECT_EQ(parse_input_format(to_string(input)), input) << to_string(input);
}

TEST(InputFormat, WhatItCannotBeIsAnError) {
  for (const char* text : {"",
                           "int_signed",
                           "int_signed b8",
                           "int_signed 8 absmax",
                           "int_signed b8 at",
                           "int_signed b8 at 0",
                           "int_signed b8 at -1",
                           "int_signed b8 at nan",
                           "int_signed b8 at inf",
                           "int_signed b8 at 1e-40",
                           "int_signed b8 at 0.10",
                           "int_signed b9 absmax",
                           "int_signed b0 rms",
                           "int_signed b8 learned",
                           "half_int b4 signed_max",
                           "none b8 rms",
                           "fp4 b4 at 1",
                           "nvfp4 b4 absmax",
                           "nvfp4 b4 absmax global",
                           "nvfp4 b4 absmax global 3",
                           "nvfp4 b4 absmax global 0",
                           "nvfp4 b4 absmax global -8",
                           "nvfp4 b4 absmax global nan",
                           "nvfp4 b4 absmax global 2097152",
                           "nvfp4 b4 absmax at 8",
                           "nvfp4 b4 at 1 global 8",
                           "nvfp4 b4 rms global 8",
                           "nvfp4 b8 absmax global 8",
                           "mxfp4 b4 absmax",
                           "mxfp4 b4 at 1",
                           "mxfp4 b4 mx_round global 8",
                           "int_signed b8 absmax global 8",
                           "int_signed b8 absmax ",
                           "int_signed  b8 absmax",
                           "int_signed b8 absmax x"})
    try {
      parse_input_format(text);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file) << text;
      EXPECT_THAT(e.what(), HasSubstr("input format")) << text;
    }
}

// Of every target, and of grids of one's own: the format says the whole grid.
TEST(InputFormat, SaysWhatTrainingPlans) {
  QatOptions quest;
  quest.target = "none";
  quest.act_bits = 4;
  QatOptions fp4 = quest;
  fp4.act_grid = "fp4";
  QatOptions lsq = quest;
  lsq.estimator = "lsq";
  lsq.grid = "int_signed";
  QatOptions bitnet;
  bitnet.target = "none";
  bitnet.estimator = "bitnet";
  std::vector<QatOptions> all = {quest, fp4, lsq, bitnet};
  for (const char* grid : {"nvfp4", "mxfp4"}) {
    all.push_back(quest);
    all.back().act_grid = grid;
    if (all.back().act_grid == "nvfp4") all.back().act_global_scale = 0.25;
  }
  for (const char* target : {"w8a8", "w4a4", "w4a4-hadamard", "nvfp4", "mxfp4"}) {
    all.push_back({});
    all.back().target = fmt::format("compressed-tensors:{}", target);
  }
  QatOptions onnx;
  onnx.target = "onnx:int8";
  onnx.act_bits = 8;
  EXPECT_EQ(to_string(input_format(activation_grid(onnx), 0.0f)), "int_signed b8 absmax");
  all.push_back(onnx);
  all.push_back(onnx);
  all.back().act_grid = "half_int";
  all.push_back(onnx);
  all.back().estimator = "lsq";
  for (const QatOptions& options : all) {
    const Grid planned = plan_layer(options, "layer", 256).activations->grid;
    const InputFormat input = input_format(planned, 0.25f);
    EXPECT_EQ(input.scale, options.estimator == "lsq" ? 0.25f : 0.0f);
    const Grid grid = input_grid(input, planned.format.hadamard);
    EXPECT_EQ(to_string(grid.format), to_string(planned.format));
    EXPECT_EQ(grid.rule, planned.rule);
    EXPECT_EQ(grid.rounding, planned.rounding);
    if (input.scale > 0.0f) continue;  // others are given
    EXPECT_EQ(grid.step, planned.step);
    EXPECT_EQ(grid.eps, planned.eps);
    EXPECT_EQ(grid.dynamic, planned.dynamic);
    EXPECT_EQ(grid.second, planned.second);
  }
}

// The formula of qat/input_format.h, in fp32 as compressed-tensors computes it; the tie at the
// negative value of largest magnitude is the quotient's.
TEST(InputFormat, IsCompressedTensorsFormula) {
  for (const int bits : {2, 4, 8}) {
    std::vector<float> x = normal(64 * 96, 21);
    for (size_t i = 0; i < 96; ++i) x[i] = 0.0f;
    const Result r =
        quantized(input_grid({.bits = bits}, 0), {}, {.f32 = x.data(), .rows = 64, .columns = 96});
    const float least = -std::ldexp(1.0f, bits - 1), most = -least - 1;
    for (size_t i = 96; i < x.size(); ++i) {
      float largest = 0;
      for (size_t c = i / 96 * 96; c < (i / 96 + 1) * 96; ++c)
        largest = std::max(largest, std::fabs(x[c]));
      const float scale = largest / ((std::ldexp(1.0f, bits) - 1) / 2);
      const float code = std::rint(std::min(std::max(x[i] / scale, least), most));
      ASSERT_EQ(r.scales[i / 96], scale);
      ASSERT_EQ(r.codes[i], static_cast<int8_t>(code)) << bits << " " << i;
      ASSERT_EQ(r.f32[i], code * scale);
    }
    for (size_t i = 0; i < 96; ++i) EXPECT_EQ(r.f32[i], 0.0f);
  }
}

}  // namespace
}  // namespace terse
